"""Runs the suites: python -m tests.transparency. Root on a kernel with the kernel road."""

from __future__ import annotations

import pickle
import sys
import time
from pathlib import Path
from platform import python_version

import click

from l7proxy.demo.agents import AgentError
from tests.transparency import running, suites
from tests.transparency.comparison import Difference, differences, differing
from tests.transparency.report import Result, markdown, summary
from tests.transparency.running import Outcomes, SuiteError
from tests.transparency.suites import BUILD, SUITES, Suite, Wanted
from tests.transparency.town import DIRECT, KERNEL, SPLICE, Town, town

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "TRANSPARENCY.md"
SAVED = BUILD / "results.pickle"
AGAIN = 4
"""How often a test that differs is run again on each way."""


@click.command()
@click.option("--suite", "only", multiple=True, help="Only these suites.")
@click.option("--merge", is_flag=True, help="Keep what earlier runs found of the other suites.")
@click.option("--write/--no-write", default=None, help="Write docs/TRANSPARENCY.md.")
def main(only: tuple[str, ...], merge: bool, write: bool | None) -> None:
    """Test suites of others with and without the datapath under their sockets.

    Exits with 1 where a test differs that no name explains, or nothing was covered. The document
    is written where nothing was picked, or the rest is merged, unless told otherwise.
    """
    picked = [suite for suite in SUITES if not only or suite.name in only]
    problem = suites.lacking()
    if problem:
        click.echo(f"transparency: LEFT OUT: {problem}", err=True)
        picked = [suite for suite in picked if suite.sdist]
    suites.install(picked)
    found: dict[str, list[Result]] = pickle.loads(SAVED.read_bytes()) if merge else {}
    try:
        with town() as place:
            for suite in picked:
                found[suite.name] = _results(place, suite)
                SAVED.write_bytes(pickle.dumps(found))
    except (AgentError, SuiteError) as error:
        raise click.ClickException(str(error)) from None
    results = [result for suite in SUITES for result in found.get(suite.name, [])]
    click.echo(summary(results))
    left_out = [f"`{test}`: {why}" for suite in SUITES for test, why in suite.left_out.items()]
    if write or (write is None and (merge or not only)):
        DOCUMENT.write_text(markdown(results, [*left_out, *([problem] if problem else [])]))
    sys.exit(any(result.word != "ok" for result in results))


def _results(place: Town, suite: Suite) -> list[Result]:
    """The suite directly and on each way that it is fit for."""
    direct = _run(place, suite, DIRECT)
    found = []
    for way in (SPLICE, KERNEL) if suite.apart else (SPLICE,):
        before = place.seen()
        got = _run(place, suite, way)
        seen = place.seen().since(before)
        differ = _again(place, suite, way, direct, got)
        found.append(Result(suite.name, _source(suite), way, direct, differ, seen))
    return found


def _again(
    place: Town, suite: Suite, way: str, direct: Outcomes, got: Outcomes
) -> list[Difference]:
    """What differs, with what further runs of these tests say, and why where it is known."""
    tests = differing(direct, got)
    if not tests:
        return []
    names = {test: f"limit `{name}`" for test in tests if (name := suite.limit_of(test))}
    if way == KERNEL:
        names |= _refused(place, suite, tests)
    again = {
        each: [_run(place, suite, each, tests) for _ in range(AGAIN)] for each in (DIRECT, way)
    }
    return differences([direct, *again[DIRECT]], [got, *again[way]], names)


def _refused(place: Town, suite: Suite, tests: frozenset[str]) -> dict[str, str]:
    """Of tests one of whose requests policy or HTTP's rules forbid, for which reason."""
    names = {}
    for test in sorted(tests):
        with place.refusals() as reasons:
            _run(place, suite, KERNEL, frozenset((test,)))
        if reasons:
            names[test] = "refused: " + ", ".join(f"`{each}`" for each in sorted(reasons))
    return names


def _run(place: Town, suite: Suite, way: str, only: Wanted = None) -> Outcomes:
    begin = time.monotonic()
    servers = place.servers.cgroup if way == KERNEL else None
    folder = BUILD / "runs" / suite.name.replace(": ", "-") / way
    found = running.run(suite, place.places[way], folder, servers=servers, only=only)
    if only is None:
        seconds = time.monotonic() - begin
        click.echo(f"transparency: {suite.name}: {way}: {seconds:.0f} s", err=True)
    return found


def _source(suite: Suite) -> str:
    return suite.sdist.version if suite.sdist else python_version()


if __name__ == "__main__":
    main()
