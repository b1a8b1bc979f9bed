"""What a file system of the FAT family takes, tried on a real one: sizes, names, case, entries, the life of a bundle.

`python -m tests.devices.fat_limits FOLDER KIND`, where FOLDER is on an empty file system of the KIND `vfat` or `exfat`
with 200 MiB, mounted with utf8 and umask=077. Prints a line for each thing that holds, and fails at the first that does
not. It is a program, since it runs where the file system is: in a virtual machine, or with a stick in somebody's hand.
"""

from __future__ import annotations

import errno
import os
import string
import sys
import tempfile
from pathlib import Path

from airbundle import api
from airbundle.crypto.identities import generate
from airbundle.crypto.keyfiles import NamedIdentity
from airbundle.crypto.trust import TrustSet
from airbundle.format import limits
from airbundle.media.drive import filesystem_type
from airbundle.media.volume import segment_name
from airbundle.media.writing import temporary_name
from airbundle.transfer.ending import Declared
from airbundle.transfer.plan import FAT_FILES_MAX, Options

LABEL = "Modèle 日本"
ENTRY, ENTRIES_MAX = 32, 65_536  # bytes of an entry of a folder on FAT, and how many a folder may have
TRIED = 500
OTHER_CASE = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)  # Linux folds no others on vfat with utf8


def error_of(file: Path, size: int) -> int:
    """The number of the error when a file is made so large; 0 without."""
    with open(file, "wb") as opened:
        try:
            os.ftruncate(opened.fileno(), size)
        except OSError as error:
            return error.errno or -1
        finally:
            os.unlink(file)
    return 0


def check_sizes(folder: Path, kind: str) -> None:
    """A file of a volume may have 4 GiB - 1, and that is what FAT takes."""
    errors = tuple(error_of(folder / "large", limits.VOLUME_FILE_MAX + more) for more in (0, 1))
    if kind == "vfat":  # exFAT has no such limit; of a file larger than the drive its kernel also says EFBIG
        assert errors[0] != errno.EFBIG, errors
        assert errors[1] == errno.EFBIG, errors
    assert limits.SEGMENT_STORED_MAX < limits.VOLUME_FILE_MAX
    print(f"sizes: {errors} for 4 GiB - 1 and 4 GiB, and no segment comes near")


def check_entries(folder: Path, kind: str) -> None:
    """A folder on FAT has room for as many segments as a plan may put there, while one has its temporary name."""
    place = folder / "many"
    place.mkdir()
    before = place.stat().st_size
    for number in range(TRIED):
        (place / temporary_name(segment_name(number), "0a" * 16)).touch()
        os.rename(place / temporary_name(segment_name(number), "0a" * 16), place / segment_name(number))
    assert sorted(os.listdir(place)) == [segment_name(number) for number in range(TRIED)]
    each = (place.stat().st_size - before) / ENTRY / TRIED
    assert kind != "vfat" or each * FAT_FILES_MAX < ENTRIES_MAX, each
    for number in range(TRIED):
        os.unlink(place / segment_name(number))
    place.rmdir()
    print(f"entries: {each:.2f} for each segment")


def check_life(folder: Path, kind: str) -> None:
    """Pack, verify, damage, repair, sign, copy, unpack."""
    packer, reader, second = generate(), generate(), generate()
    trust = TrustSet([NamedIdentity("packer", packer.public), NamedIdentity("second", second.public)])
    assert filesystem_type(str(folder)) in {kind, "fuseblk", f"fuse.{kind}"}, filesystem_type(str(folder))
    with tempfile.TemporaryDirectory() as space:
        source = Path(space, "source")
        source.mkdir()
        for number in range(3):
            (source / f"poids-{number}-日本").write_bytes(os.urandom(700_001))
        (path,) = api.pack(str(source), str(folder), sign=packer, to=[reader.public], declared=Declared(label=LABEL),
                           options=Options(segment_size=limits.MIB)).volumes
        assert os.path.basename(path) in os.listdir(folder), os.listdir(folder)  # not without utf8
        assert os.path.basename(path).startswith(LABEL)
        print(f"names: {os.listdir(folder)}")
        other = os.path.join(folder, os.path.basename(path).translate(OTHER_CASE))
        assert sorted(os.listdir(other)) == sorted(os.listdir(path))
        api.verify([other], trust=trust)
        print(f"case: the same volume under {other}")
        with open(os.path.join(path, segment_name(0)), "r+b") as file:
            file.seek(200_000)
            file.write(bytes(20_000))
        os.unlink(os.path.join(path, segment_name(1)))
        api.repair([path], trust=trust)
        api.sign([path], sign=second, trust=trust)
        api.add_custody(path, sign=second, kind="handed-over", trust=trust)
        Path(folder, "copy").mkdir()
        (laid,) = api.copy([path], [str(folder / "copy")], trust=trust).volumes
        api.settle_drives([path, laid.path])
        api.verify([laid.path], trust=trust, keys=[reader])
        for target in (Path(space, "back"), folder / "back"):
            api.unpack([laid.path], str(target), keys=[reader], trust=trust)
            for part in source.iterdir():
                assert (target / part.name).read_bytes() == part.read_bytes()
    print("life: packed, repaired, signed, copied, unpacked elsewhere and here")


def main(folder: Path, kind: str) -> None:
    for check in (check_sizes, check_entries, check_life):
        check(folder, kind)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
