"""Names of directories and files: what may be one, and which directory may be the node's."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

import logferry
from logferry import layout
from logferry.layout import LayoutError, NodeDir, filesystem_type, prepare_node_dir, safe_component


@pytest.mark.parametrize("name", ["exp042", "a b", "ä-語-🙂", "a.b", "x" * 128, "a=b,c", "~", "%s"])
def test_any_single_file_name_is_safe(name: str) -> None:
    assert safe_component(name, "experiment id") == name


UNSAFE = {
    "": "is empty",
    ".": "begins with a dot",
    "..": "begins with a dot",
    ".hidden": "begins with a dot",
    "a/b": "contains '/'",
    "/etc": "contains '/'",
    "r.part-1": "contains '.part-'",
    "a\nb": "contains a control character",
    "a\0": "contains a control character",
    "\x1b[2J": "contains a control character",
    "a\x85": "contains a control character",
    "a\u202eb": "contains a control character",
    "a\u2028b": "contains a control character",
    "a\udcff": "contains a control character",
    " a": "begins or ends with a blank",
    "a ": "begins or ends with a blank",
    "x" * 129: "is longer than 128 bytes",
    "ä" * 65: "is longer than 128 bytes",
}


@pytest.mark.parametrize("name", UNSAFE, ids=ascii)
def test_an_unsafe_id_is_refused_by_init_and_quoted_safely(name: str, home: Path, node_dir: Path) -> None:
    for what, given in (("experiment id", (name, None)), ("run id", ("exp", name))):
        with pytest.raises(ValueError, match=what) as caught:
            logferry.init(given[0], run_id=given[1])
        said = str(caught.value)
        assert UNSAFE[name] in said
        assert "allowed is a single file name of 1 to 128 bytes" in said
        assert said.isascii()
        assert said.isprintable()
    assert not home.exists()
    assert not node_dir.exists()


def test_an_unsafe_id_of_the_environment_is_refused_too(home: Path, node_dir: Path, monkeypatch) -> None:
    monkeypatch.setenv("LOGFERRY_RUN_ID", "../up")
    with pytest.raises(ValueError, match=r"run id '\.\./up' begins with a dot"):
        logferry.init("exp")


@pytest.mark.parametrize("value", [None, 5, b"exp", Path("exp"), ["exp"] * 1000])
def test_an_id_that_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a string"):
        logferry.init(value)  # type: ignore[arg-type]


def test_a_long_id_is_not_quoted_whole() -> None:
    with pytest.raises(ValueError, match="longer than") as caught:
        safe_component("x" * 10_000, "run id")
    assert len(str(caught.value)) < 500


def test_the_node_directory_is_made_private(root: Path) -> None:
    old = os.umask(0)
    try:
        prepare_node_dir(root / "deep" / "node")
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "deep" / "node").stat().st_mode) == 0o700


def test_a_directory_that_is_open_to_others_is_closed(root: Path) -> None:
    (root / "node").mkdir()
    (root / "node").chmod(0o777)
    prepare_node_dir(root / "node")
    assert stat.S_IMODE((root / "node").stat().st_mode) == 0o700


def test_a_link_a_file_and_a_dangling_link_are_refused_with_the_way_out(root: Path) -> None:
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    (root / "dangling").symlink_to("nothing")
    (root / "file").touch()
    for name, kind in {"link": "a link", "dangling": "a link", "file": "a file"}.items():
        with pytest.raises(LayoutError, match=f"{name} is {kind}, not a directory; set LOGFERRY_NODE_DIR to"):
            prepare_node_dir(root / name)


def test_somebody_elses_directory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "node").mkdir()
    monkeypatch.setattr(layout.os, "geteuid", lambda: 12345)
    with pytest.raises(LayoutError, match=f"belongs to user {os.getuid()}, not to you; set LOGFERRY_NODE_DIR"):
        prepare_node_dir(root / "node")


def test_a_directory_that_cannot_be_made_is_named(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(LayoutError, match=r"file/node cannot be made: .*; set LOGFERRY_NODE_DIR"):
        prepare_node_dir(root / "file" / "node")


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "fuse.sshfs", "fuse"])
def test_network_file_systems_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(layout, "filesystem_type", lambda _: kind)
    with pytest.raises(LayoutError, match=rf"network file system \({kind}\); set LOGFERRY_NODE_DIR"):
        prepare_node_dir(root / "node")
    assert not (root / "node").exists()


MOUNTS = rb"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
22 21 0:20 / /scratch rw - lustre scratch@tcp:/fs rw
23 21 0:21 / /scratch/local rw master:1 propagate_from:2 - xfs /dev/nvme0 rw
24 21 0:22 / /with\040blank rw - nfs4 server:/x rw
25 21 0:23 / /b\303\244r/b%s rw - cifs //server/x rw
26 21 0:24 / /odd/%s rw - 9p share rw
29 21 0:27 / /car%sriage rw - nfs server:/z rw
27 21 0:25 / /twice rw - autofs auto rw
28 27 0:26 / /twice rw - nfs server:/y rw
""" % ("ä".encode(), b"\xff", b"\r")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/scratch", "lustre"),
        ("/scratch/me/not/there", "lustre"),
        ("/scratches", "ext4"),
        ("/scratch/local/me", "xfs"),
        ("/with blank/x", "nfs4"),
        ("/bär/bä/x", "cifs"),
        ("/odd/\udcff/x", "9p"),
        ("/car\rriage/x", "nfs"),
        ("/twice/x", "nfs"),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount_point_above(root: Path, path: str, kind: str) -> None:
    table = root / "mountinfo"
    table.write_bytes(MOUNTS)
    assert filesystem_type(Path(path), table) == kind


def test_without_a_mount_table_the_file_system_is_unknown_and_not_refused(root: Path) -> None:
    assert filesystem_type(root, root / "nothing") == ""
    assert not layout.is_network("")


def test_this_machines_own_mount_table_can_be_read() -> None:
    assert filesystem_type(Path("/proc/self")) == "proc"


def test_a_socket_path_that_does_not_fit_is_refused_with_the_way_out() -> None:
    fits = NodeDir(Path("/" + "x" * (layout.MAX_IPC_PATH_BYTES - len("//agent.sock"))))
    assert fits.address == f"ipc://{fits.path}/agent.sock"
    with pytest.raises(LayoutError, match=r"longer than the 107 bytes .*; set LOGFERRY_NODE_DIR to a shorter"):
        _ = NodeDir(Path(f"{fits.path}x")).address


def test_a_host_whose_name_is_no_file_name_is_called_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    class Uname:
        nodename = "../up"

    monkeypatch.setattr(layout.os, "uname", Uname)
    assert layout.host_name() == "localhost"


def test_files_that_come_and_go_while_it_is_looked_at_make_the_node_directory_nobody_elses(tmp_path: Path) -> None:
    node, over = prepare_node_dir(tmp_path / "node"), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for number in range(50):
                (node.path / f"{number}").touch()
            for number in range(50):
                (node.path / f"{number}").unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        assert all(layout.is_own_node_dir(node.path) for _ in range(300))
    finally:
        over.set()
        thread.join()
