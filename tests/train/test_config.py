import math
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrct_runtime.errors import UsageError
from mrct_runtime.process import DDPM, VESDE, Direct
from mrct_train.config import TrainConfig, load_config, read_config, validated


def test_the_defaults_are_the_papers():
    config = load_config("", "nothing")
    assert config.process == DDPM(steps=1000, beta_start=1e-4, beta_end=0.02)
    assert (config.learning_rate, config.betas, config.adam_eps) == (1e-4, (0.9, 0.999), 1e-8)
    assert (config.batch, config.epochs, config.ema, config.grad_clip) == (2, 100, 0.9999, 1.0)
    assert (config.size, config.spacing_mm) == (512, 0.875)
    assert (config.unet.base, config.unet.multipliers, config.unet.blocks) == (
        64,
        (1, 2, 2, 4, 4),
        2,
    )
    assert load_config('method = "sde"', "").process == VESDE(sigma=25.0, t_min=1e-5)
    for method in ("cnn", "wgan-gp"):
        assert load_config(f'method = "{method}"', "").process == Direct()


def test_a_recipe_comes_back_from_its_own_text():
    text = """
        name = "Ein \\"Rezept\\""
        method = "sde"
        grad_clip = inf
        steps = 7
        size = 64
        betas = [0.8, 0.99]
        [sde]
        sigma = 10
        [unet]
        multipliers = [1, 2]
        stem = 4
        attention_heads = 2
        [mr_normalisation]
        low_percentile = 2
        [domain]
        anatomy = "brain"
    """
    config = load_config(text, "text")
    assert config.process == VESDE(sigma=10.0)
    assert config.grad_clip == math.inf
    assert (config.unet.stem, config.unet.attention_heads, config.unet.multiple) == (4, 2, 8)
    assert load_config(config.dumps(), "its text") == config
    assert load_config(TrainConfig().dumps(), "its text") == TrainConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning = 1", "recipe.toml: unknown key 'learning'"),
        ("[unet]\nwidth = 3", "recipe.toml: unknown key 'unet.width'"),
        ("[sde]\nS = 3", "recipe.toml: unknown key 'sde.S'"),
        ("batch = 0", "recipe.toml: batch: Input should be greater than or equal to 1, got 0"),
        ('method = "gan"', "method: Input should be 'ddpm', 'sde', 'cnn' or 'wgan-gp', got 'gan'"),
        ("size = 100", "size 100 is not a multiple of 16"),
        ('weighting = "unit"', 'weighting "unit" is for preconditioning "residual"'),
        ("[sde]\nsigma = 0.5", "sigma must be above 1"),
        ("batch = ", "recipe.toml: not TOML"),
        ("seed = -1", "seed: Input should be greater than or equal to 0, got -1"),
        (f"seed = {2**63}", "seed: Input should be less than"),
        ("learning_rate = inf", "learning_rate must be finite, got inf"),
        ("learning_rate = nan", "learning_rate"),
        ("spacing_mm = inf", "spacing_mm must be finite"),
        ("grad_clip = nan", "grad_clip"),
        ("betas = [nan, 0.9]", "betas"),
        ("[unet]\nfourier_scale = inf", "unet.fourier_scale must be finite"),
        ("[sde]\nsigma = inf", "sigma"),
        ("batch = 4\naccumulate = 3", "batch 4 is not a multiple of accumulate 3"),
        ("epochs = 3\nmost_epochs = 2", "epochs 3 is more than most_epochs 2"),
        ('schedule = "cosine"', 'cosine" needs to know the end'),
        ('method = "cnn"\npreconditioning = "residual"', "preconditioning is for noise models"),
        ("[critic]\nlayers = 3", "unknown key 'critic.layers'"),
        ("[unet]\nstem = 3", "recipe.toml: unet.stem: Input should be 1, 2 or 4, got 3"),
        ("[unet]\nattention_heads = -1", "unet.attention_heads: Input should be greater than or"),
        ("[unet]\nattention_heads = 3", "attention_heads 3 does not divide the 256 channels"),
        ("[unet]\nattention = true", "recipe.toml: unknown key 'unet.attention'"),
        (
            "size = 48\n[unet]\nstem = 2",
            "size 48 is not a multiple of 32, which a UNet of 5 levels",
        ),
        ("[augmentation]\nrotation_degrees = 200", "augmentation.rotation_degrees"),
    ],
)
def test_a_faulty_recipe_is_refused_in_one_line(text, message):
    with pytest.raises(UsageError) as caught:
        load_config(text, "recipe.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml: cannot read"):
        read_config(tmp_path / "none.toml")


def test_a_recipe_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "old.toml").write_bytes('name = "Müller"'.encode("latin1"))
    with pytest.raises(UsageError, match=r"old\.toml: not text: byte 9 is not UTF-8"):
        read_config(tmp_path / "old.toml")


YAML = """
name: Brain   # a comment
method: sde
learning_rate: 1e-3
adam_eps: 1e-8
betas: [0.8, 0.99]
grad_clip: .inf
steps: 7
size: 64
stratified: true
sde: {sigma: 10, t_min: 1e-5}
unet:
  multipliers: [1, 2]
domain:
  anatomy: no
"""


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".YML"])
def test_a_recipe_in_yaml_is_the_same_as_in_toml_and_is_saved_as_toml(tmp_path, ending):
    path = tmp_path / f"recipe{ending}"
    path.write_text(YAML)
    config = read_config(path)
    assert (config.learning_rate, config.adam_eps) == (1e-3, 1e-8)
    assert config.process == VESDE(sigma=10.0, t_min=1e-5)
    assert config.grad_clip == math.inf
    assert config.domain.anatomy == "no"
    (tmp_path / "config.toml").write_text(config.dumps(), "utf-8")
    assert read_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning: 1", "recipe.yaml: unknown key 'learning'"),
        ("unet: {width: 3}", "recipe.yaml: unknown key 'unet.width'"),
        ("batch: 0", "recipe.yaml: batch: Input should be greater than or equal to 1, got 0"),
        ("batch: two", "recipe.yaml: batch: Input should be a valid integer"),
        ("learning_rate: fast", "recipe.yaml: learning_rate: Input should be a valid number"),
        ("name: 3", "recipe.yaml: name: Input should be a valid string, got 3"),
        ("batch: 1\nbatch: 2", "recipe.yaml: not YAML: the key 'batch' stands there twice, line 2"),
        ("batch: [", "recipe.yaml: not YAML"),
        ("- batch", "recipe.yaml: not YAML: a recipe is a table"),
    ],
)
def test_a_faulty_recipe_in_yaml_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(tmp_path / "recipe.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pyyaml_a_recipe_in_yaml_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "mrct_train.yaml_table", raising=False)
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "recipe.yaml").write_text("batch: 2")
    with pytest.raises(UsageError, match=r"PyYAML is not installed: pip install 'mrct\[train\]'"):
        read_config(tmp_path / "recipe.yaml")


def test_a_recipe_of_another_kind_is_refused(tmp_path):
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(UsageError, match=r"must end in one of \.toml, \.yaml, \.yml"):
        read_config(tmp_path / "recipe.json")


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_survives_the_resolved_form(text):
    config = TrainConfig(name=text)
    assert tomllib.loads(config.dumps())["name"] == text
    assert load_config(config.dumps(), "its text") == config


def test_overrides_take_precedence_and_epochs_replace_steps():
    text = "steps = 10\nseed = 3"
    assert load_config(text, "", {"seed": None, "batch": 8}).seed == 3
    assert load_config(text, "", {"steps": 20}).total_steps(100) == 20
    assert load_config(text, "", {"epochs": 3, "batch": 8}).total_steps(20) == 8


def test_a_number_of_epochs_on_the_command_line_is_exact():
    config = load_config("epochs = 50\nmost_epochs = 400", "", {"epochs": 3})
    assert (config.epochs, config.most_epochs) == (3, 3)
    assert load_config('schedule = "cosine"', "", {"epochs": 3}).most_epochs == 3


def test_differences_name_fields_by_their_full_name():
    changed = load_config("seed = 1\n[unet]\nbase = 32\n[ddpm]\nsteps = 500", "")
    assert TrainConfig().differences(changed) == ["ddpm.steps", "seed", "unet.base"]
    assert TrainConfig().differences(TrainConfig()) == []


def test_the_committed_recipes_are_valid(request):
    folder = request.config.rootpath / "examples" / "recipes"
    methods = {read_config(path).method for path in folder.rglob("*.toml")}
    assert methods == {"ddpm", "sde", "cnn", "wgan-gp"}


def test_reading_a_recipe_loads_no_torch():
    code = "import mrct_train.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("method", ["cnn", "wgan-gp"])
def test_stratified_times_are_refused_where_no_times_are_drawn(method):
    with pytest.raises(UsageError, match=f'stratified is for noise models; method "{method}"'):
        validated({"method": method, "stratified": True}, "test")
