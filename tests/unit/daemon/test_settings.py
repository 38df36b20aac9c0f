"""hamgrd's settings file: defaults, conversions, and a sentence for each mistake."""

from pathlib import Path

import pytest

from hamgr.daemon.settings import (
    Settings,
    SettingsError,
    changed_for_restart,
    kube_config,
    load_settings,
    read_boot_id,
    store_config,
)

MINIMAL = "cluster: shop\nnode: n1\netcd: {endpoints: ['http://127.0.0.1:2379']}\n"


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "hamgrd.yaml"
    path.write_text(text)
    return load_settings(path)


def test_two_keys_are_enough(tmp_path):
    settings = load(tmp_path, "cluster: shop\netcd: {endpoints: ['http://127.0.0.1:2379']}\n")
    assert settings.node
    assert settings.kubernetes.enabled
    assert settings.metrics.listen is None
    store = store_config(settings, tmp_path)
    assert (store.cluster, store.endpoints, store.silence_s) == ("shop", ("http://127.0.0.1:2379",), 1.0)


def test_files_are_meant_from_beside_the_settings(tmp_path):
    (tmp_path / "pki").mkdir()
    for name in ("ca", "cert", "key"):
        (tmp_path / f"pki/{name}").write_text("-----BEGIN X-----\n")
    (tmp_path / "password").write_text("secret\n")
    settings = load(
        tmp_path,
        "cluster: shop\nnode: n1\n"
        "etcd:\n  endpoints: ['https://etcd:2379']\n  ca: pki/ca\n  cert: pki/cert\n  key: pki/key\n"
        "  user: hamgr\n  password-file: password\n  attempt-timeout: 250ms\n"
        "kubernetes: {kubeconfig: kubeconfig, read-timeout: 2s}\n",
    )
    store = store_config(settings, tmp_path)
    assert (store.ca, store.password, store.attempt_timeout_s) == (tmp_path / "pki/ca", "secret", 0.25)
    assert kube_config(settings, tmp_path).kubeconfig == tmp_path / "kubeconfig"
    assert kube_config(settings, tmp_path).read_timeout_s == 2.0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cluster: shop\n", "hamgrd.yaml:1:1: the key 'etcd' is missing"),
        ("cluster: Shop\netcd: {endpoints: [x]}\n", "hamgrd.yaml:1:10: cluster: 'Shop' must be lower-case"),
        ("cluster: c\netcd: {endpoints: []}\n", "hamgrd.yaml:2:19: etcd.endpoints: at least one entry is needed"),
        ("cluster: c\netcd: {endpoint: [x]}\n", "etcd.endpoint: there is no such key (did you mean 'endpoints'?)"),
        (MINIMAL + "log: {level: loud}\n", "log.level: 'loud' is not allowed here; allowed: debug, error, info"),
        (MINIMAL + "metrics: {listen: here}\n", "metrics.listen: 'here' is no address to listen on"),
        (MINIMAL + "times: {member-ttl: 1500ms}\n", "times.member-ttl: '1500ms': etcd's leases last whole seconds"),
        (MINIMAL + "times: {settle: soon}\n", "times.settle: 'soon' is not a duration"),
        (MINIMAL + "workers: 0\n", "workers: Input should be greater than or equal to 1"),
        ("cluster: [\n", "this is not YAML"),
        ("", "hamgrd.yaml:1:1: a mapping (key: value) belongs here, not nothing"),
    ],
)
def test_mistakes(tmp_path, text, complaint):
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, text)
    assert complaint in str(raised.value)


def test_what_is_not_text_is_said_to_be_none(tmp_path):
    path = tmp_path / "hamgrd.yaml"
    path.write_bytes(b"cluster: \xff\n")
    with pytest.raises(SettingsError, match="is not UTF-8 text"):
        load_settings(path)


@pytest.mark.parametrize(("content", "complaint"), [(None, "cannot be read: No such file"), ("", "is empty")])
def test_a_boot_id_must_be_there(tmp_path, content, complaint):
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=complaint):
        read_boot_id(path)


def test_a_missing_password_file_is_named(tmp_path):
    settings = load(tmp_path, "cluster: c\nnode: n\netcd: {endpoints: ['https://e'], user: u, password-file: gone}\n")
    with pytest.raises(SettingsError, match=r"password file .*gone cannot be read"):
        store_config(settings, tmp_path)


def test_a_reload_takes_logging_and_names_the_rest(tmp_path):
    old = load(tmp_path, MINIMAL)
    assert changed_for_restart(old, load(tmp_path, MINIMAL + "log: {level: debug}\n")) == []
    new = load(tmp_path, MINIMAL + "workers: 3\nboot-id-file: /x\n")
    assert changed_for_restart(old, new) == ["workers", "boot-id-file"]


def test_the_commented_example_shows_the_defaults(tmp_path):
    """Uncommented as it stands, the example says the same as without."""
    example = (Path(__file__).parents[3] / "config/hamgrd.yaml").read_text()
    path = tmp_path / "hamgrd.yaml"
    path.write_text(example)
    plain = load_settings(path)
    skipped = ("# node:", "  # user:", "  # password-file:", "# metrics:", "#   listen:")
    lines = [
        line.replace("# ", "", 1) if line.lstrip().startswith("# ") and ":" in line else line
        for line in example.splitlines()[4:]
        if not line.startswith(skipped)
    ]
    path.write_text("\n".join(lines))
    assert load_settings(path) == plain
