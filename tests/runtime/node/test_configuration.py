import pytest

from mrct_runtime.errors import UsageError
from mrct_runtime.node.configuration import NodeConfig, Retries, read_toml

LEAST = {
    "spool": "spool",
    "callers": [{"title": "PACS"}],
    "destination": {"title": "PACS", "host": "pacs.local", "port": 104},
}


def made(**changes):
    return NodeConfig.made({**LEAST, **changes}, "node.toml")


def test_by_default_a_node_listens_at_loopback_alone():
    assert (made().bind, made().port, made().title, made().tls) == (
        "127.0.0.1",
        11112,
        "MRCT",
        None,
    )


def test_a_file_gives_the_same_value_with_its_relative_paths_from_its_own_folder(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(
        'spool = "spool"\nbundle = "/models/a.mrct"\ninfer = ["--mc", "4"]\n'
        '[[callers]]\ntitle = "PACS"\naddresses = ["10.0.0.7"]\n'
        '[destination]\ntitle = "PACS"\nhost = "pacs.local"\nport = 104\n'
        "[limits]\nassociations = 3\n"
    )
    config = NodeConfig.made(read_toml(path), path.name)
    assert config.spool == tmp_path / "spool"
    assert str(config.bundle) == "/models/a.mrct"
    assert config.infer == ("--mc", "4")
    assert config.limits.associations == 3
    assert config.limits.pdu_bytes == made().limits.pdu_bytes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sppol": "x"}, "unknown key 'sppol'"),
        ({"limits": {"asociations": 3}}, "unknown key 'limits.asociations'"),
        ({"callers": []}, "callers"),
        ({"callers": [{"title": "A"}, {"title": "A "}]}, "stands there twice"),
        ({"callers": [{"title": "A", "addresses": ["pacs.local"]}]}, "callers.0.addresses.0"),
        ({"title": "SEVENTEEN LETTERS"}, "1 to 16 printable"),
        ({"title": "A\\B"}, "no backslash"),
        ({"title": "  "}, "1 to 16 printable"),
        ({"bind": "localhost"}, "bind"),
        ({"port": 0}, "port: Input should be greater than or equal to 1, got 0"),
        ({"port": 4000, "health_port": 4000}, "both 4000"),
        ({"quiet_s": 100, "max_age_s": 50}, "would never grow quiet"),
        ({"quiet_s": float("nan")}, "quiet_s"),
        ({"keep_days": -1}, "keep_days"),
        ({"limits": {"instance_bytes": 10, "spool_bytes": 5}}, "more than spool_bytes"),
        ({"sending_retries": {"attempts": 3, "first_s": 9, "longest_s": 1}}, "is more than"),
        ({"destination": {"title": "A", "host": "", "port": 1}}, "destination.host"),
        ({"destination": {"title": "A", "port": 1}}, "'destination.host' is missing"),
        ({"tls": {"certificate": "a", "key": "b"}}, "'tls.authority' is missing"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_it(changes, told):
    with pytest.raises(UsageError) as error:
        made(**changes)
    assert told in str(error.value)
    assert str(error.value).startswith("node.toml: ")
    assert "\n" not in str(error.value)


def test_a_title_may_come_from_its_own_addresses_alone():
    config = made(callers=[{"title": "A", "addresses": ["10.0.0.1"]}, {"title": "B"}])
    assert config.allows("A", "10.0.0.1")
    assert not config.allows("A", "10.0.0.2")
    assert config.allows("B", "10.0.0.2")
    assert not config.allows("C", "10.0.0.1")
    assert config.addresses is None
    assert made(callers=[{"title": "A", "addresses": ["10.0.0.1"]}]).addresses == {"10.0.0.1"}


def test_waits_double_up_to_the_longest():
    retries = Retries(attempts=9, first_s=10, longest_s=60)
    assert [retries.wait_s(n) for n in range(1, 6)] == [10, 20, 40, 60, 60]
    assert retries.wait_s(10_000) == 60


@pytest.mark.parametrize(("text", "told"), [(None, "cannot be read"), ("spool = ", "not TOML")])
def test_a_file_that_cannot_be_read_is_told(text, told, tmp_path):
    path = tmp_path / "node.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=told):
        read_toml(path)
