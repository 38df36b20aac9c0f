"""What a cluster file may say of fence agents: names alone, no programs, no orders, and secrets only with a warning."""

import pytest

from hamgr.cib.fence_parameters import is_powerful
from hamgr.clusterfile.fencing import open_secrets
from hamgr.clusterfile.load import ConfigError, load_yaml
from hamgr.executor.registry import Registry


def read(device: str):
    text = f"cluster: t\nnodes: [n1]\nfencing: {{devices: [{{id: d, {device}}}], levels: [d]}}\n"
    return load_yaml(text, "f", Registry().specs())


@pytest.mark.parametrize("agent", ["fence_apc", "fence_ipmilan", "cloud", "/opt/site/fence_rack", "/opt/site/switch"])
def test_agents_are_names_of_fence_agents_or_absolute(agent):
    assert read(f"agent: {agent}").fencing.devices[0].agent == agent


@pytest.mark.parametrize("agent", ["sh", "reboot", "../fence_x", "fence_x/../../bin/sh", "fence_", "''"])
def test_other_programs_are_refused(agent):
    with pytest.raises(ConfigError, match="is no fence agent: write fence_NAME"):
        read(f"agent: {agent}")


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ('{"ip\\naction": x}', "is no name of a parameter"),
        ("{action: off}", "'action' is hamgr's to say"),
        ("{option: off}", "'option' is hamgr's to say"),
        ("{passwd_script: /tmp/x}", "'passwd_script' names what the agent runs or writes as root"),
        ("{ssh_options: -oProxyCommand=id}", "'ssh_options' names what the agent runs or writes as root"),
        ("{ipmitool_path: /tmp/x}", "'ipmitool_path' names what the agent runs or writes as root"),
        ("{debug_file: /etc/passwd}", "'debug_file' names what the agent runs or writes as root"),
    ],
)
def test_parameters_that_would_make_their_writer_root_are_refused(params, complaint):
    with pytest.raises(ConfigError, match=complaint):
        read(f"agent: fence_apc, params: {params}")


@pytest.mark.parametrize("name", ["ip", "ipport", "login", "passwd", "identity_file", "api_path", "plug"])
def test_what_only_says_where_the_device_is_may_be_said(name):
    assert not is_powerful(name)


def test_a_password_in_the_file_is_a_warning():
    (told,) = open_secrets(read("agent: fence_apc, params: {ip: 10.0.0.9, passwd: x, snmp_priv_passwd: y}").fencing)
    assert told.startswith("fence device d: passwd, snmp_priv_passwd in the cluster file can be read by all")
    assert open_secrets(read("agent: fence_apc, params: {ip: 10.0.0.9}, params-from: secret/d").fencing) == []
