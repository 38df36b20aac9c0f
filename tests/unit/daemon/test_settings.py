"""hamgrd's settings file: defaults, conversions, and a sentence for each mistake."""

import re
from pathlib import Path

import pytest
import yaml

from hamgr.controller.settings import ControllerSettings
from hamgr.daemon import wiring
from hamgr.daemon.selffence.bound import bound_of, guard_options
from hamgr.daemon.settings import (
    DaemonSection,
    Settings,
    SettingsError,
    changed_for_restart,
    fence_programs,
    kube_config,
    load_settings,
    read_boot_id,
    store_config,
)

PAGE = Path(__file__).parents[3] / "docs/reference-options.md"
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


# --- every setting reaches something -------------------------------------------------------------------------------

OTHERS = {
    "cluster": "other",
    "node": "n9",
    "etcd.endpoints": ["https://127.0.0.9:2379"],
    "etcd.ca": "ca",
    "etcd.cert": "cert",
    "etcd.key": "key",
    "etcd.user": "hamgr",
    "etcd.password-file": "password",
    "kubernetes.enabled": False,
    "kubernetes.kubeconfig": "other",
    "kubernetes.context": "other",
    "log.level": "debug",
    "log.format": "json",
    "metrics.listen": "127.0.0.1:9433",
    "self-fencing": "watchdog",
    "self-fence.kill-suffices": True,
    "self-fence.find": ["mounts"],
    "self-fence.watchdog-device": "/dev/other",
    "self-fence.state-dir": "/other",
    "fence-agents.directories": ["/other"],
    "fence-agents.programs": ["/other/switch"],
    "fence-agents.parameter-files": "/other",
    "workers": 3,
    "boot-id-file": "/other",
    "mountinfo-file": "/other",
}
# What the parts are made with besides, in `hamgr.daemon.wiring` and `main`.
READ_DIRECTLY = ("kubernetes.enabled", "log.level", "log.format", "metrics.listen", "boot-id-file", "mountinfo-file")


def leaves(section: type[DaemonSection], prefix: str = "") -> list[str]:
    found = []
    for name, field in section.model_fields.items():
        kind, key = field.annotation, f"{prefix}{field.alias or name}"
        is_section = isinstance(kind, type) and issubclass(kind, DaemonSection)
        found += leaves(kind, f"{key}.") if is_section else [key]
    return found


def built(tmp_path: Path, changed: dict[str, object]) -> list[object]:
    """What the daemon's parts are made with."""
    whole: dict = {
        "cluster": "shop",
        "node": "n1",
        "etcd": {
            "endpoints": ["https://127.0.0.1:2379"],
            "user": "u",
            **dict.fromkeys(("ca", "cert", "key", "password-file"), "first"),
        },
        "times": {"member-ttl": "30s"},
        "self-fencing": "kill",
    }
    for key, value in changed.items():
        *sections, name = key.split(".")
        section = whole
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = value
    for name in ("first", "ca", "cert", "key", "password"):
        (tmp_path / name).write_text(f"-----BEGIN {name}-----\n")
    settings = load(tmp_path, yaml.safe_dump(whole))
    return [
        store_config(settings, tmp_path),
        kube_config(settings, tmp_path),
        wiring._controller_settings(settings),
        bound_of(settings),
        guard_options(settings, tmp_path, "boot"),
        fence_programs(settings),
    ]


@pytest.mark.parametrize("key", leaves(Settings))
def test_every_setting_reaches_something(tmp_path: Path, key: str) -> None:
    if key in READ_DIRECTLY:
        attribute = "settings." + key.replace("-", "_")
        sources = (Path(wiring.__file__).parent / name for name in ("wiring.py", "main.py"))
        assert any(re.search(rf"\b{re.escape(attribute)}\b", source.read_text()) for source in sources)
        return
    extra = {"self-fencing": "watchdog"} if key.startswith("self-fence.watchdog") else {}
    before = built(tmp_path, extra)
    assert built(tmp_path, {**extra, key: OTHERS.get(key, "7s")}) != before


def test_the_controllers_defaults_are_the_daemons() -> None:
    settings = Settings.model_validate({"cluster": "c", "node": "n", "etcd": {"endpoints": ["http://e"]}})
    assert wiring._controller_settings(settings) == ControllerSettings("n")


def test_every_setting_is_explained() -> None:
    assert [key for key in leaves(Settings) if f"| `{key}` | " not in PAGE.read_text()] == []
