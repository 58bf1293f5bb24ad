"""The commands and their options. Standard library only: `mora --help` answers at once."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

DESCRIPTION = """\
Multi-objective alignment of language models as a routine.

The same manifests (RolloutJob, RewriteJob, AlignmentJob) run on this machine with `mora run`, or in a cluster with
`mora submit` or `kubectl apply`."""
EXAMPLES = """\
examples:
  mora validate -f examples/quickstart              check manifests; nothing runs
  mora run -f examples/quickstart                   run them here, in the order of their references
  mora get --workdir runs/quickstart                what came out
  mora report runs/quickstart                       one HTML file
  mora get -n research                              the jobs in a cluster
  mora logs RolloutJob/helpful -n research --follow

exit codes: 0 done, 1 the job failed, 2 bad usage or a bad manifest, 3 the cluster cannot be reached, 130 interrupted"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed command line. `module` names the module of mora_jobs.cli whose `main` is to be called with it."""
    called = "kubectl mora" if Path(sys.argv[0]).name.startswith("kubectl-") else "mora"
    parser = _Parser(
        prog=called, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_local(commands)
    _add_looking(commands)
    _add_changing(commands)
    _add_results(commands)
    _add_about(commands)
    return parser.parse_args(arguments)


Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"


def _command(commands: Commands, name: str, module: str, help: str, description: str, examples: str) -> _Parser:
    command = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(module=module, command=name)
    return command


def _add_local(commands: Commands) -> None:
    run = _command(
        commands,
        "run",
        "run",
        "run manifests on this machine",
        "Run the jobs of manifests on an embedded local Ray, in the order of their references, with live progress.\n"
        "Everything about the run lies in the workdir; running the same command again resumes it. Credentials are taken\n"
        "from environment variables MORA_CREDENTIAL_<NAME>.",
        "  mora run -f examples/quickstart\n"
        "  mora run -f rollout.yaml rewrite.yaml --workdir runs/first\n"
        "  mora run -f examples/quickstart --set RolloutJob/quickstart-rollout.spec.sampling.seed=18\n"
        "  mora run -f examples/quickstart --set rlj/quickstart-rollout.spec.rewards[helpful].scale=LowerIsBetter",
    )
    _add_manifests(run)
    run.add_argument(
        "--workdir", type=Path, metavar="DIR", help="folder of the run; default runs/NAME, after the first PATH"
    )
    run.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="KIND/NAME.spec.path=value",
        help="replace one member of a manifest; the value is YAML, null removes it; may be repeated",
    )
    run.add_argument(
        "--volume",
        dest="volumes",
        action="append",
        default=[],
        metavar="CLAIM=FOLDER",
        help="a folder in the place of a PersistentVolumeClaim, for pvc://CLAIM/… URIs; may be repeated",
    )
    run.add_argument("--dashboard", action="store_true", help="also start Ray's dashboard")

    validate = _command(
        commands,
        "validate",
        "validate",
        "check manifests offline",
        "Check manifests by the rules of the API server (schema and CEL), and the references between them. Prints a line\n"
        "FILE: KIND/NAME: PATH: what is wrong for each fault and exits with 2; prints what was read otherwise.",
        "  mora validate -f examples/quickstart\n  mora validate -f jobs/ --target cluster",
    )
    _add_manifests(validate)
    validate.add_argument(
        "--target",
        choices=("local", "cluster"),
        default="local",
        help="cluster adds what only matters there, e.g. relative URIs (default: local)",
    )


def _add_looking(commands: Commands) -> None:
    get = _command(
        commands,
        "get",
        "get",
        "list jobs",
        "List jobs of a cluster, or of a workdir with --workdir, with the columns of `kubectl get`.",
        "  mora get --workdir runs/quickstart\n  mora get rolloutjobs -n research -o wide\n"
        "  mora get AlignmentJob/helpful -o yaml",
    )
    _add_job(get, optional=True)
    _add_source(get)
    _add_output(get, "wide", "json", "yaml", "name")
    get.add_argument("-A", "--all-namespaces", action="store_true", help="jobs of all namespaces")

    status = _command(
        commands,
        "status",
        "status",
        "show one job in detail",
        "Show how far a job is, its conditions, its results and where they lie. Exits with 1 if the job has failed.",
        "  mora status RolloutJob/quickstart-rollout --workdir runs/quickstart\n  mora status alj/helpful -o yaml",
    )
    _add_job(status)
    _add_source(status)
    _add_output(status, "json", "yaml")

    watch = _command(
        commands,
        "watch",
        "watch",
        "follow jobs until they have finished",
        "Show jobs whenever they change, until all of them have finished. Exits with 1 if one has failed.",
        "  mora watch --workdir runs/quickstart\n  mora watch AlignmentJob/helpful -n research",
    )
    _add_job(watch, optional=True)
    _add_source(watch)

    logs = _command(
        commands,
        "logs",
        "logs",
        "print a driver's log",
        "Print what the driver of a job printed (in a cluster: of its newest attempt).",
        "  mora logs RolloutJob/quickstart-rollout --workdir runs/quickstart\n  mora logs rwj/helpful --follow",
    )
    _add_job(logs)
    _add_source(logs)
    logs.add_argument("--follow", action="store_true", help="go on until the job has finished")
    logs.add_argument("--tail", type=_count, metavar="N", help="begin with the last N lines")

    events = _command(
        commands,
        "events",
        "events",
        "what happened to a job",
        "Print the events of a job (in a cluster: also those of its RayJobs and their pods), oldest first.",
        "  mora events RolloutJob/quickstart-rollout --workdir runs/quickstart\n  mora events rlj/helpful -n research",
    )
    _add_job(events, optional=True)
    _add_source(events)
    _add_output(events, "json")


def _add_changing(commands: Commands) -> None:
    submit = _command(
        commands,
        "submit",
        "submit",
        "send manifests to a cluster",
        "Check manifests and apply them to a cluster (server-side apply, field manager `mora`).",
        "  mora submit -f jobs/ -n research",
    )
    _add_manifests(submit)
    _add_cluster(submit)
    for name, help, description in (
        (
            "suspend",
            "stop a job after a checkpoint",
            "Set spec.suspend: the job saves its work and gives its cluster back.",
        ),
        ("resume", "let a suspended job go on", "Unset spec.suspend: the job goes on from where it was."),
    ):
        command = _command(
            commands, name, "suspension", help, description, f"  mora {name} AlignmentJob/helpful -n research"
        )
        _add_job(command)
        _add_cluster(command)
    rerun = _command(
        commands,
        "rerun",
        "rerun",
        "run a job again under a new name",
        "Make a new object with the spec of a job, a new name and an output folder of its own. The old one stays.",
        "  mora rerun RolloutJob/helpful\n  mora rerun rlj/helpful --name helpful-b --output s3://bucket/runs/helpful-b",
    )
    _add_job(rerun)
    _add_cluster(rerun)
    rerun.add_argument("--name", help="name of the new object; the old one with a number appended when absent")
    rerun.add_argument("--output", metavar="URI", help="its output.uri; the old one with the same number when absent")


def _add_results(commands: Commands) -> None:
    report = _command(
        commands,
        "report",
        "report",
        "write the HTML report",
        "Write one self-contained HTML file, and print its path: about a workdir of `mora run`, or about a job of a cluster\n"
        "and all that it refers to. Of a cluster's job what lies at its output.uri is read from here, with your rights.",
        "  mora report runs/quickstart\n  mora report AlignmentJob/helpful -n research -o helpful.html",
    )
    report.add_argument("subject", metavar="WORKDIR|KIND/NAME", help="workdir of `mora run`, or a job of a cluster")
    report.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write; WORKDIR/report.html or NAME-report.html when absent",
    )
    _add_cluster(report)

    pareto = _command(
        commands,
        "pareto",
        "pareto",
        "compare Pareto fronts",
        "Compare the fronts of AlignmentJobs two by two: hypervolume against one frozen reference point, coverage both\n"
        "ways, and intervals over prompts. A front is a pareto.json, the output folder (or URI) of a job, or\n"
        "WORKDIR:NAME for the AlignmentJob NAME of a workdir.",
        "  mora pareto runs/a/runs/align runs/b/runs/align\n  mora pareto runs/quickstart:mora runs/quickstart:dpo -o json",
    )
    pareto.add_argument("fronts", metavar="FRONT", nargs="+", help="two or more fronts")
    pareto.add_argument(
        "--reference",
        type=_numbers,
        metavar="R1,R2,...",
        help="reference point, in the order of the first front's objectives",
    )
    _add_output(pareto, "json")

    fit = _command(
        commands,
        "fit-reward",
        "fit_reward",
        "fit reward heads to ratings",
        "Fit one head for each rated dimension on sentence embeddings, and write a folder that the classifier reward takes\n"
        "like a model. Heads with ratings of 0 and 1 only are logistic, others ridge regressions; the figures printed are\n"
        "cross-validated with all answers to a prompt on one side.",
        "  mora fit-reward --ratings ratings.jsonl --heads helpful,harmless --encoder file://models/minilm --output heads/",
    )
    fit.add_argument(
        "--ratings",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSONL, CSV or Parquet, a row for each rated answer",
    )
    fit.add_argument(
        "--heads", required=True, type=_names, metavar="NAME,...", help="columns with ratings, each becomes a head"
    )
    fit.add_argument("--encoder", required=True, metavar="URI", help="a sentence-embedding model")
    fit.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder to write; must not exist")
    fit.add_argument("--prompt-field", default="prompt", metavar="NAME", help="column of the prompt (default: prompt)")
    fit.add_argument(
        "--response-field", default="response", metavar="NAME", help="column of the answer (default: response)"
    )
    fit.add_argument(
        "--features",
        action="append",
        default=[],
        metavar="HEAD=PART,...",
        help="what a head sees, of answer, answer*prompt, cosine and statements (default: answer,answer*prompt,cosine)",
    )
    fit.add_argument(
        "--statements",
        default="true,false",
        metavar="TRUE,FALSE",
        help="columns with true and false statements, for heads that see statements (default: true,false)",
    )
    fit.add_argument("--seed", type=_count, default=0, help="seed of the folds (default: 0)")


def _add_about(commands: Commands) -> None:
    crd = _command(
        commands,
        "crd",
        "crd",
        "print the CustomResourceDefinitions",
        "Print the CRDs as they are generated from the API types, ready for `kubectl apply -f -`.",
        "  mora crd | kubectl apply --server-side -f -\n  mora crd AlignmentJob",
    )
    crd.add_argument("kinds", metavar="KIND", nargs="*", help="kinds to print; all when absent")
    _command(
        commands,
        "version",
        "version",
        "print the version",
        "Print versions of mora and what it runs on.",
        "  mora version",
    )


def _add_manifests(parser: _Parser) -> None:
    parser.add_argument(
        "-f",
        "--filename",
        dest="paths",
        required=True,
        nargs="+",
        action="extend",
        type=Path,
        metavar="PATH",
        help="YAML files, or folders of them; other kinds in them are left out",
    )


def _add_job(parser: _Parser, optional: bool = False) -> None:
    kinds = "RolloutJob (rlj), RewriteJob (rwj), AlignmentJob (alj)"
    if optional:
        help = f"a job as KIND/NAME, or all of a KIND, of {kinds}; all jobs when absent"
        parser.add_argument("job", nargs="?", metavar="KIND[/NAME]", help=help)
    else:
        parser.add_argument("job", metavar="KIND/NAME", help=f"the job; kinds are {kinds}")


def _add_source(parser: _Parser) -> None:
    parser.add_argument(
        "--workdir", type=Path, metavar="DIR", help="look into a workdir of `mora run`, not at a cluster"
    )
    _add_cluster(parser)


def _add_cluster(parser: _Parser) -> None:
    parser.add_argument("-n", "--namespace", metavar="NAME", help="namespace; that of the current context when absent")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="kubeconfig file")


def _add_output(parser: _Parser, *forms: str) -> None:
    parser.add_argument(
        "-o", "--output", dest="form", choices=forms, metavar="|".join(forms), help="form of the output"
    )


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers with commas") from None


def _names(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
