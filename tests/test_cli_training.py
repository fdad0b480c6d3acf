"""What the command lines of training share."""

from handkit.cli.training import resume_command, settings_given


def test_an_interrupted_run_goes_on_without_starting_over() -> None:
    words = ["/opt/bin/handkit", "pretrain", "seqhand", "--force", "--out", "my runs/a"]
    assert resume_command(words) == "handkit pretrain seqhand --out 'my runs/a'"


def test_options_become_changes_of_the_recipe() -> None:
    sources = [{"dataset": "stb", "root": 'a "b"'}]
    assert settings_given(train__seed=3, hand=None, data__sources=sources, network__name="x") == [
        "train.seed=3",
        'data.sources=[{dataset = "stb", root = "a \\"b\\""}]',
        'network.name="x"',
    ]
