"""Services for systemd, a rule for udev and one for usbguard, as `airbundle watch --print-units` prints them.

`tests/devices` has them checked by `systemd-analyze`, and a machine runs them with systemd as its first process.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY: Final = "/srv/station/policy.toml"
"""Where the policy lies if nobody says so."""
_EACH: Final = """\
Environment=PYTHONUNBUFFERED=1
Restart=on-failure
RestartSec=2
TimeoutStopSec=30
KillMode=mixed
NoNewPrivileges=yes
UMask=0077
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={folders}
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
KeyringMode=private
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
IPAddressDeny=any
"""
_WATCH: Final = """\
# file: /etc/systemd/system/airbundle-watch.service
# Mounts drives and hands them to processes without privileges, which verify and import them.
[Unit]
Description=Verify and import what is plugged in
After=local-fs.target systemd-udevd.service
ConditionPathExists={plain}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} watch --source udev --policy {policy}
RuntimeDirectory=airbundle
RuntimeDirectoryMode=0755
""" + _EACH + """\
# To mount; to read the policy wherever it lies; to become the owner of the policy, and to end what runs as it.
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_READ_SEARCH CAP_SETUID CAP_SETGID CAP_KILL
DevicePolicy=closed
DeviceAllow=block-* r
RestrictNamespaces=mnt
RestrictAddressFamilies=AF_UNIX AF_NETLINK
SystemCallFilter=@system-service @mount seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self

[Install]
WantedBy=multi-user.target
"""
_MOUNTS: Final = """\
# file: /etc/systemd/system/airbundle-watch-mounts.service
# The same without any privilege: what a desktop or an administrator mounts is verified and imported.
# Set User= to the owner of the policy.
[Unit]
Description=Verify and import what is mounted
After=local-fs.target
ConditionPathExists={plain}

[Service]
Type=exec
User={user}
ExecStart={program} watch --source mounts --policy {policy}
""" + _EACH + """\
CapabilityBoundingSet=
PrivateDevices=yes
PrivateNetwork=yes
DevicePolicy=closed
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=@system-service seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
"""
_RULE: Final = """\
# file: /etc/udev/rules.d/90-airbundle.rules
# A drive starts the watcher if it does not run. The rule mounts nothing and reads nothing.
ACTION!="remove", SUBSYSTEM=="block", ENV{ID_BUS}=="usb", ENV{ID_FS_USAGE}=="filesystem", TAG+="systemd", \
ENV{SYSTEMD_WANTS}+="airbundle-watch.service"
"""
_USBGUARD: Final = """\
# file: /etc/usbguard/rules.d/90-airbundle.conf
# Mass storage and nothing else: what is a keyboard too is no drive.
reject with-interface all-of { 08:*:* 03:*:* }
reject with-interface all-of { 08:*:* 02:*:* }
reject with-interface all-of { 08:*:* e0:*:* }
allow with-interface equals { 08:*:* }
"""


def units(policy: str, folders: Sequence[str], user: str) -> str:
    """All files, each after a line that says its place. The station writes in `folders`, which are `user`'s."""
    given = {"program": f"{_quoted(sys.executable)} -P -m airbundle", "policy": _quoted(policy), "user": user,
             "plain": policy.replace("%", "%%"), "folders": " ".join(map(_quoted, folders))}
    return "\n".join((_WATCH.format(**given), _MOUNTS.format(**given), _RULE, _USBGUARD))


def _quoted(path: str) -> str:
    """A path as systemd.syntax(7) wants it where several may stand."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != path or " " in path else path
