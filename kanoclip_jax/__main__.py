"""`python -m kanoclip_jax …` is the command `kanoclip …`."""

from kanoclip_jax.command import run

if __name__ == "__main__":
    run()
