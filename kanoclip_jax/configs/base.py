"""Every setting with its default; the other configurations change a few of these.

    python launch.py --config=configs/base.py --config.KEY=VALUE …

Lists are comma-separated strings: --config.eval.datasets=visa,folder:/my/pictures
"""

from ml_collections import ConfigDict

from kanoclip_jax.configs import methods

# The paper's ablation: each row adds one part (the paper's own ticks are lost).
ROWS = {
    "none": {"knpl": False, "vv": False, "cmci": False, "adapter": False},
    "knpl": {"vv": False, "cmci": False, "adapter": False},
    "vv": {"cmci": False, "adapter": False},
    "cmci": {"adapter": False},
    "adapter": {},
}
# What each row of a table changes: the paper's five, beside them the full method on
# both paths' taps, and the other methods.
ROW_SETTINGS = {
    **{name: {"model": changes} for name, changes in ROWS.items()},
    "both": {"model": {"paths": "both"}},
    "kanoclip": {"model": {}},
    **methods.ROWS,
}


def get_config(row: str = "") -> ConfigDict:
    """The full method, or one row of `ROW_SETTINGS`."""
    config = ConfigDict()
    # What runs: kanoclip, or another of kanoclip_jax/models; see configs/methods.py.
    config.method = "kanoclip"
    # By which reports call the run: the ROW of configs/NAME.py:ROW, if it has one.
    config.row = ""
    config.seed = 111  # of all that is drawn by chance
    # Repeat with the seeds from `seed` on; the report has means and deviations.
    config.seeds = 1
    # Rows of a table by name, each a run of its own in WORKDIR/ROW/SEED; empty is one
    # run. A row changes what `row_settings` says of it, or what stands behind its name,
    # as in 'none,soft:model.sigma=8;train.epochs=2'.
    config.rows = ""
    config.row_settings = ConfigDict(ROW_SETTINGS)
    # An Orbax checkpoint directory (newest step) or one step of it, a head's folder of
    # --mode=save, or such a head on the hub (USER/NAME, USER/NAME@REVISION), for every
    # mode but train; empty means the working directory's own.
    config.checkpoint = ""
    # Where there are rows: what was trained already on MVTec AD, alone or with the others
    # of its train.dataset,
    config.checkpoint_mvtec = ""
    config.checkpoint_visa = ""  # on VisA

    config.clip = ConfigDict()
    # A Hugging Face id, a local directory in that format, or `demo`.
    config.clip.name = "openai/clip-vit-large-patch14-336"
    # Pixels; a multiple of the patch, but for MVFA.
    config.clip.image_size = 518
    # How the position grid is resized: bilinear (AnomalyCLIP), bicubic (AdaCLIP) or
    # bicubic_antialias (APRIL-GAN, MVFA).
    config.clip.position_grid = "bilinear"
    # Of the towers: empty is the checkpoint's own; quick_gelu or gelu where a method's
    # published weights belong to it.
    config.clip.activation = ""
    # What the image tower reads: clip, pixels normalised with the checkpoint's own
    # constants, or unit, pixels in [0, 1] (MVFA).
    config.clip.input_range = "clip"
    # Of the tower's computation: float32, bfloat16, or auto (bfloat16 on accelerators).
    config.clip.dtype = "auto"

    # The second backbone, of a method that has one (crane_plus): a DINOv2, by a Hugging
    # Face id, a local directory in that format, or the authors' .pth. It reads the same
    # pixels in the same dtype.
    config.guide = ConfigDict()
    config.guide.name = "facebook/dinov2-with-registers-base"

    # The keywords of the method's constructor (kanoclip_jax/models/kanoclip.py).
    config.model = ConfigDict()
    config.model.knpl = True  # learned prompts; else hand-written ones
    config.model.vv = True  # tokens of the V-V path; else plain CLIP's
    config.model.cmci = True  # four taps and BiCA; else the last tap alone
    config.model.adapter = True  # of the image feature; else it is CLIP's own
    config.model.vv_start = 0  # first V-V block, from 1; 0 is depth // 4
    config.model.paths = "vv"  # whose tokens are tapped; or both, plain CLIP's too
    config.model.taps = ""  # blocks, from 1; empty is depth · {1, 2, 3, 4} // 4
    config.model.image_feature = "post_layernorm"  # or plain (AnomalyCLIP), vv
    config.model.temperature = 0.07  # τ of every softmax over the two states
    # Norm of eq. 9: what each tap gives a picture's own median patch, 0 for as it comes.
    config.model.typical = 0.03
    config.model.spread = 0.0  # power of its patches' deviation; 1 for bare surfaces
    config.model.combine = "probability"  # what taps are averaged as; or logit
    config.model.sigma = 4.0  # of the maps' Gaussian, in pixels
    config.model.context_length = 12  # learned vectors of a prompt, K of eq. 1
    config.model.deep_prompt_depth = 0  # blocks of the text tower; AnomalyCLIP: 9
    config.model.deep_prompt_length = 4  # vectors in each of those blocks
    config.model.normal_states = "normal,perfect"  # words of eq. 1
    config.model.abnormal_states = "abnormal,defective"  # likewise
    config.model.class_aware = True  # prompts name the class; else `object`
    config.model.template = "a photo of a {}"  # hand-written prompts, where knpl is off
    config.model.bica_width = 256  # of BiCA's attentions
    config.model.bica_heads = 8  # of each
    config.model.bica_groups = 4  # of offsets
    config.model.bica_stride = 4  # of the windows that offsets come from, in patches
    config.model.bica_kernel = 5  # their sides
    config.model.layer_scale = 0.0  # 0 is zero-initialised outputs; GroundingDINO: 1e-4
    config.model.feed_forward = False  # behind BiCA's attentions
    config.model.adapter_reduction = 4  # the feature's width over the adapter's
    config.model.adapter_residual = True  # False is eq. 11 as printed
    config.model.adapter_spatial = False  # it also looks at the last tap's patches
    config.model.knowledge_weight = 1.0  # of the knowledge loss, α of eq. 13
    config.model.global_weight = 1.0  # of the image's loss, β
    config.model.local_weight = 1.0  # of the pixels' loss, γ
    # Of the knowledge loss: it rests once abnormal prompts are nearer by this distance.
    config.model.margin = 0.0
    # class pulls each class to its own knowledge; global only their means, as one class.
    config.model.knowledge_scope = "class"
    config.model.focal_gamma = 2.0  # exponent of the focal loss
    # Focal and dice on each tap's map; False is on the combined map.
    config.model.loss_per_tap = True
    # The cross-entropy is of the image's own probability, or of the whole score.
    config.model.global_loss_of = "probability"

    config.knowledge = ConfigDict()
    # A .jsonl of records; empty is what is bundled, and a template sentence from the
    # mask of each anomalous training image.
    config.knowledge.path = ""
    # Sentences of eq. 3 weigh alike (count), or language and image do (balanced).
    config.knowledge.weighting = "count"
    # Give every sentence's feature unit length before eq. 3; else longer ones count more.
    config.knowledge.normalize_each = False
    # What --mode=knowledge does: build writes WORKDIR/knowledge/DATASET.jsonl, inspect
    # shows what a knowledge base is like.
    config.knowledge.action = "build"
    # As train.dataset, of which inspect looks at one; empty is train.dataset with its
    # train.classes.
    config.knowledge.dataset = ""
    # Who is asked: bundled (nobody), openai (a server of OpenAI's chat-completions
    # protocol: hosted, vLLM, Ollama, llama.cpp …) or template (the training masks).
    config.knowledge.provider = "bundled"
    # The server. Its key is read from the environment variable OPENAI_API_KEY alone.
    config.knowledge.base_url = "https://api.openai.com/v1"
    # A model that answers about classes; an empty one is not asked.
    config.knowledge.llm = ""
    config.knowledge.vqa = ""  # about images
    config.knowledge.n = 5  # language answers for each class, seeded from `seed` on
    config.knowledge.image_size = 512  # longest side of the images that are sent
    config.knowledge.concurrency = 4  # questions at once
    config.knowledge.retries = 6  # after a failure that may pass, later each time
    config.knowledge.timeout = 60.0  # seconds without a byte that end an attempt
    # Seconds after which a question has failed, with its attempts and whatever came.
    config.knowledge.deadline = 600.0
    # Sentences about the pictures of an evaluation dataset are not zero-shot.
    config.knowledge.allow_evaluation_dataset = False

    config.data = ConfigDict()
    # Holds one folder per dataset id in its original layout; never written to.
    config.data.root = ""
    # For array_record copies and feature caches; empty is the user's cache directory.
    config.data.prepared = ""
    # Count and skip unreadable files instead of stopping.
    config.data.skip_bad_files = False
    # A copy that differs from the published counts is an error, not a warning.
    config.data.strict = False
    # Further folders of COVID-19 that count as anomalous: viral_pneumonia, lung_opacity.
    config.data.covid19_include = ""
    # Sub-folders of folder:PATH that hold normal images.
    config.data.normal_folders = "good,ok,normal,no"
    # Of masks in folder:PATH, what is the anomaly: auto (what each file tells; see
    # data_pipelines/mask_values.py), nonzero, half (above half of the range) or ids.
    config.data.mask_values = "auto"
    # Whether pictures are turned by their EXIF orientation: upright, or stored. Catalogue
    # datasets never are.
    config.data.orientation = "upright"
    # On which their masks were drawn where neither sizes nor other masks tell: auto
    # (nothing is assumed), upright or stored.
    config.data.mask_orientation = "auto"
    # In prompts: display (printed circuit board) or raw, the folder's (pcb1), as
    # published tables have it.
    config.data.class_names = "display"
    # And of folder:PATH, as CLASS=WORDS, besides what class_names.json in the folder says:
    # 'pcb_01=printed circuit board,pcb_02=motor driver'.
    config.data.folder_class_names = ""
    # Which values are black and white in pictures that are not of 8 bits, the same for all
    # of them: auto (what the file says), a depth (12bit: 0 to 4095), or LOW,HIGH
    # (-1000,1000 for Hounsfield units, 0,1 for floating-point ones).
    config.data.value_range = "auto"
    # Pictures of more are refused before they are decoded.
    config.data.max_pixels = 178_956_970
    # Reading processes; -1 is threads alone on up to 4 cores, else half of the cores.
    config.data.workers = -1

    config.train = ConfigDict()
    # A catalogue id or folder:PATH, or several as one, as in mvtec,colondb.
    config.train.dataset = "mvtec"
    # Where there are rows: trained on for the evaluation of train.dataset's own parts.
    config.train.second_dataset = ""
    # Keep these only, of whichever dataset has them; empty keeps all.
    config.train.classes = ""
    config.train.epochs = 4  # how often each picture is seen
    # At full rates; then they halve with each further epoch. 0 is constant rates.
    config.train.full_epochs = 4
    config.train.batch_size = 8  # pictures a step, of all devices together
    # Pieces of a batch whose gradients are summed: auto (as many as memory needs), or N.
    config.train.accumulate = "auto"
    # The share of pictures that are mosaics of four of their class (APRIL-GAN: 0.2).
    config.train.mosaic = 0.0
    config.train.prompt_learning_rate = 1e-3  # of the prompts
    config.train.learning_rate = 1e-5  # of BiCA, projections and adapter
    config.train.adam_betas = (0.5, 0.999)  # decay of Adam's two means
    config.train.weight_decay = 0.0  # AdamW's, times the rate; 0 is Adam
    config.train.checkpoint_every = 200  # steps
    config.train.log_every = 10  # steps
    # Keep frozen features on disk: auto (if they fit), never, or a folder.
    config.train.cache_features = "auto"

    config.eval = ConfigDict()
    config.eval.datasets = ""  # catalogue ids and folder:PATH
    config.eval.classes = ""  # these alone, of whichever dataset has them
    config.eval.batch_size = 8  # pictures at once
    # Of pixel metrics: model (maps and masks at the model's size, as published figures)
    # or original (at each image's own size, its mask untouched).
    config.eval.resolution = "model"
    # Colours of example pictures: calibrated (from the score on that 99 % of a class's
    # normal pixels do not reach) or absolute (from 0 to 1).
    config.eval.scale = "calibrated"
    # Evaluating on the dataset that was trained on is not zero-shot.
    config.eval.allow_training_dataset = False

    config.predict = ConfigDict()
    # An image, a folder (recursive), a glob or a list file.
    config.predict.input = ""
    config.predict.class_name = "object"  # what the pictures show, for the prompts
    config.predict.batch_size = 8  # pictures at once
    config.predict.maps = True  # keep each map, as maps/*.npy
    config.predict.overlays = True  # draw each picture with its map over it
    config.predict.highest = (
        24  # pictures on the sheet of the highest scores; 0 is none
    )
    # Colours of overlays: calibrated (from the pixel threshold on; without one from 0.5
    # to 1) or absolute (from 0 to 1).
    config.predict.scale = "calibrated"
    # Regions in coco.json, where there are thresholds: polygons (along the pixels' edges,
    # holes included), rle (masks), or never.
    config.predict.coco = "polygons"
    # Thresholds: auto (those beside the checkpoint or in the working directory), never,
    # or a calibration.json.
    config.predict.calibration = "auto"
    # A threshold of your own, in [0, 1], of scores; empty is the calibrated one. Where
    # nothing is calibrated, one serves for scores and maps. Of predict, watch and export;
    # an evaluation needs none: its figures are over all thresholds.
    config.predict.threshold = ""
    config.predict.pixel_threshold = ""  # likewise of maps
    config.predict.min_area = 1  # pixels; smaller regions are left out
    # Large and elongated pictures in overlapping windows, of predict, watch, calibrate
    # and export: never (each is squashed to the model's size), auto (windows of that
    # size, where a picture is more than twice as long), or a window's side in pixels.
    config.predict.tiles = "never"

    config.calibrate = ConfigDict()
    # A folder of normal pictures, or of kinds of them (good/, bad/) with masks if any.
    config.calibrate.input = ""
    # What the thresholds are for: rate (at most target_rate false alarms) or f1 (the
    # best F1, for which there must be anomalous pictures).
    config.calibrate.criterion = "rate"
    config.calibrate.target_rate = 0.01  # share of false alarms

    config.export = ConfigDict()
    # To WORKDIR/export: onnx, openvino, stablehlo.
    config.export.formats = "onnx,openvino,stablehlo"
    # The classes that the model shall know; empty is those that are calibrated, and
    # `object` where none is.
    config.export.class_names = ""
    config.export.batch_size = 0  # the only one that the model takes; 0 takes any
    # Pictures on which the exported is compared with JAX; empty is embedded textures.
    config.export.input = ""
    # Pictures (a folder) to quantize OpenVINO's model on, in 8-bit integers beside the
    # others; kept if it says the same of every second one of them.
    config.export.int8 = ""
    # Also a model repository for OpenVINO Model Server and Triton: WORKDIR/export/serving.
    config.export.serving = False

    config.save = ConfigDict()
    # Where --mode=save puts the head; empty is WORKDIR/pretrained.
    config.save.folder = ""
    # Its licence in the model card, by an id of the Hugging Face hub such as apache-2.0;
    # empty is that of the pictures it was trained on.
    config.save.license = ""

    config.watch = ConfigDict()
    config.watch.settle = 0.5  # seconds without a change until a file counts as written
    config.watch.patience = (
        10.0  # seconds without a change until a bad file is given up
    )
    config.watch.limit = 0  # end after so many pictures; 0 is never
    return with_row(config, row)


def with_row(config: ConfigDict, row: str) -> ConfigDict:
    """Change what a row of `ROW_SETTINGS` changes; it is applied last."""
    if row and row not in ROW_SETTINGS:
        raise ValueError(f"row {row!r} is unknown; allowed: {', '.join(ROW_SETTINGS)}")
    changes = ROW_SETTINGS.get(row, {})
    if changes.get("method", config.method) != config.method:
        config.model = ConfigDict()
    config.update(changes)
    config.row = row
    return config
