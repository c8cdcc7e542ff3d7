"""The command doctor: choose how the detector runs on this machine."""

from __future__ import annotations

import typer

from changeling.commands.shared import ModelOption


def doctor(model: ModelOption = None) -> None:
    """Measure how the detector runs fastest on this machine, and use that from now on.

    The choice is made by itself on first use; make it again after a change of the processor or of onnxruntime. Each
    runtime must give the probabilities of the exported graph, up to rounding, to be chosen; `quantized` does not.
    """
    from changeling.detect.model import BUNDLED, load_model
    from changeling.detect.processor import INSTRUCTIONS, read_processor
    from changeling.detect.runtimes import (
        RuntimeChoice,
        choose_runtime,
        explain_choice,
        list_runtimes,
        measure_runtimes,
    )
    from changeling.progress import progress_bars

    trained = load_model(model or BUNDLED)
    with progress_bars() as progress:
        measured = measure_runtimes(trained, list_runtimes(trained.model.backbone), progress)
    runtime = choose_runtime(measured)
    choice = RuntimeChoice.describe(trained, runtime)
    path = choice.save()
    processor = read_processor()
    missing = [one for one in INSTRUCTIONS if one not in processor.instructions]
    typer.echo(f"processor     {processor.name}, cores: {processor.cores}")
    typer.echo(f"instructions  {', '.join(processor.instructions) or 'none known'}; not {', '.join(missing)}")
    typer.echo("precision     32 bits; `--runtime quantized` uses 8 bits for most of the work")
    typer.echo(f"onnxruntime   {choice.onnxruntime}")
    typer.echo(f"{'runtime':13} {'s/image':>8} {'speed':>6}  largest difference of a probability")
    for one in measured:
        typer.echo(f"{one.runtime:13} {one.seconds:8.3f} {one.speed:6.2f}  {one.difference:.1e}")
    typer.echo(f"chosen: {runtime}: {explain_choice(measured)} ({path})")
