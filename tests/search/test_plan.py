"""What a run says it will do is what it does."""

from tests.search.tiny import Say


def test_the_plan_of_a_grid_counts_its_points(say: Say) -> None:
    grid = ("--sampler", "grid", "--set", "filters=[4, 8]", "--set", "learning_rate=0.01", "--trials", "100")
    code, output, errors = say("run", "tiny.toml", "--data", "synthetic", "--workers", "1", *grid, "--dry-run")
    assert (code, errors) == (0, "")
    assert "2 trials of 2 epochs, grid" in output
    assert "100 trials" not in output
