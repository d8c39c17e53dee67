"""Write the frames and the TV-L1 optical flow of HMDB51's videos, as the MARS code stores them.

    ffc-dense extract-flow data/hmdb51 [--short-side 256] [--workers N]

For each video of the split files: PATH/frames/CLASS/NAME/%05d.jpg and TVL1jpg_{x,y}_%05d.jpg. Run it again to continue
with the videos that are left. The whole of HMDB51 at 256 pixels takes about a week of one core.
"""

import argparse
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..data.parallel import default_workers
from ..errors import UserError
from ..errors.reporting import reporting


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "extract-flow", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("path", type=Path, help="the folder with videos/ and testTrainMulti_7030_splits/")
    parser.add_argument("--short-side", type=int, default=256, metavar="PIXELS",
                        help="scale frames to this size before flow is computed; 0: do not scale "
                        "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes (default: one per core)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    if args.short_side < 0 or args.workers < 1:
        raise UserError(f"--short-side {args.short_side} --workers {args.workers}: expected at least 0 and 1")
    try:
        from ..data.flow import extract_all
    except ImportError as error:
        raise UserError(f"extract-flow requires the package {error.name!r}: pip install opencv-python") from error
    from ..data.hmdb51_files import read_split

    try:
        # Every split lists every video.
        _, videos = read_split(args.path, 1)
    except ValueError as error:
        raise UserError(str(error)) from error
    missing = [video for video in videos if not video.path(args.path).is_file()]
    if missing:
        raise UserError(f"{missing[0].path(args.path)}: {len(missing)} videos of the split files are missing; "
                        f"run: ffc-dense check-data hmdb51 {args.path}")  # fmt: skip
    try:
        problems = extract_all(videos, args.path, args.short_side, args.workers, print)
    except BrokenProcessPool as error:
        raise UserError("a worker process was killed, perhaps because memory ran out: try --workers 1") from error
    if problems:
        raise UserError("\n".join(problems))
    print(f"frames and flow of {len(videos):,} videos are in {args.path / 'frames'}")


def command(argv: list[str] | None = None) -> None:
    try:
        with reporting("extract-flow"):
            main(argv)
    except KeyboardInterrupt:
        sys.exit(130)
