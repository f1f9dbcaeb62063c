"""Rules over more than one field of a job, each a small generator of problems. Called by `validation`.

A shape that a single field can break is the models' matter; here is what fields owe each other, and
what a cluster asks for that one machine does not.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Final

from speech_contract import env, names, paths
from speech_contract.api.base import JOB_NAME, matches
from speech_contract.api.pod import VolumeMount
from speech_contract.api.spec import Gang, JobSpec, SpeechTrainingJob
from speech_contract.api.volumes import Volume
from speech_contract.errors import ContractError, nearest
from speech_contract.places import paths_of
from speech_contract.recipes import Launcher

Problems = Iterator[ContractError]
Rule = Callable[[JobSpec, bool], Problems]

OURS_TO_SET: Final = frozenset(
    value for name, value in vars(env).items() if name.isupper() and isinstance(value, str)
) - {env.WRAP_RECIPE, env.PREFLIGHT_ONLY, env.OMP_NUM_THREADS}
# Of the pods that we make, of our images, and of the kernel.
OUR_PATHS: Final = (
    paths.LAUNCHER_DIR, paths.RUN_CONFIG_FILE.rpartition("/")[0], "/opt/speechtrain", "/dev", "/proc", "/sys",
)  # fmt: skip


def name_fits(job: SpeechTrainingJob) -> Problems:
    """The job's name becomes host names: one DNS label each."""
    name = job.metadata.name
    if not matches(JOB_NAME, name):
        yield ContractError(
            "metadata.name",
            name,
            "is no DNS label",
            "use lower-case letters, digits and '-', a letter first, none at the end a '-'",
        )
    longest = names.longest_child_name(name, job.spec.num_nodes)
    if len(longest) > names.MAX_NAME_LENGTH:
        over = len(longest) - names.MAX_NAME_LENGTH
        yield ContractError(
            "metadata.name",
            name,
            f"makes a pod name of {len(longest)} characters, {names.MAX_NAME_LENGTH} are allowed",
            f"shorten it by {over}",
        )


def one_recipe(spec: JobSpec, local: bool) -> Problems:
    """Exactly one member of `spec.recipe`."""
    recipe = spec.recipe
    given, known = list(recipe.given), recipe.names()
    if len(given) != 1:
        rule = f"sets {' and '.join(given) or 'none'} of {', '.join(known)}"
        remedy = f"set exactly one, as in `{known[0]}: {{}}`"
        yield ContractError("spec.recipe", given, rule, remedy)


def recipe_has_its_data(spec: JobSpec, local: bool) -> Problems:
    """Our recipes train on recordings; a custom command reads what it likes."""
    recipes, data = spec.recipe.given.values(), spec.data
    if data is None and any(recipe.needs_data for recipe in recipes):
        remedy = "name the JSONL manifest of the recordings to train on"
        yield ContractError("spec.data.train.manifest", None, "is missing", remedy)
    held_out = data and data.validation
    if held_out is None and any(recipe.needs_validation for recipe in recipes):
        remedy = "name the JSONL manifest of the recordings to be scored on"
        yield ContractError("spec.data.validation.manifest", None, "is missing", remedy)


def text_comes_with_a_manifest(spec: JobSpec, local: bool) -> Problems:
    """A folder holds audio alone: a recipe that learns text refuses it by name."""
    sets = {"train": spec.data.train, "validation": spec.data.validation} if spec.data else {}
    speaking = [name for name, recipe in spec.recipe.given.items() if recipe.needs_text]
    for place, data_set in sets.items():
        if speaking and data_set is not None and data_set.folder is not None:
            rule = f"has no text, which recipe {speaking[0]} needs"
            remedy = f"write data.{place}.manifest: a JSONL file with the text of each recording"
            yield ContractError(f"spec.data.{place}.folder", data_set.folder, rule, remedy)


def command_is_for_custom(spec: JobSpec, local: bool) -> Problems:
    """Our recipes bring their own command; a custom one is nothing without."""
    trainer, custom = spec.trainer, spec.recipe.custom
    if custom is None:
        for field in ("command", "args"):
            if value := getattr(trainer, field):
                yield ContractError(
                    f"spec.trainer.{field}",
                    value,
                    "is for the custom recipe alone",
                    "remove it, or use recipe.custom",
                )
    elif not trainer.command and (local or custom.launcher is Launcher.INJECTED):
        why = "on one machine there is no image to ask" if local else "launcher Injected wraps it"
        remedy = f'write the command, as in ["python3", "train.py"]: {why}'
        yield ContractError("spec.trainer.command", [], "is empty", remedy)


def environment_is_free(spec: JobSpec, local: bool) -> Problems:
    """Variables that the operator and the supervisor set are not the user's to set."""
    for index, variable in enumerate(spec.trainer.env):
        if variable.name in OURS_TO_SET or variable.name.startswith("PET_"):
            yield ContractError(
                f"spec.trainer.env[{index}].name",
                variable.name,
                "is set by the operator",
                "remove it, or choose another name",
            )


def words_have_an_end(spec: JobSpec, local: bool) -> Problems:
    """No process can be given a NUL: it would end the word."""
    trainer = spec.trainer
    given = {f"command[{n}]": word for n, word in enumerate(trainer.command)}
    given |= {f"args[{n}]": word for n, word in enumerate(trainer.args)}
    given |= {f"env[{n}].value": item.value or "" for n, item in enumerate(trainer.env)}
    for place, text in given.items():
        if "\0" in text:
            yield ContractError(f"spec.trainer.{place}", text, "holds a NUL", "remove it")


def names_are_unique(spec: JobSpec, local: bool) -> Problems:
    """Lists that Kubernetes treats as maps hold each key once."""
    yield from _twice("spec.trainer.env", "name", [item.name for item in spec.trainer.env])
    yield from _twice("spec.pod.volumes", "name", [item.name for item in spec.pod.volumes])
    mounts = [item.mount_path for item in spec.trainer.volume_mounts]
    yield from _twice("spec.trainer.volumeMounts", "mountPath", mounts)


def _twice(field: str, key: str, values: list[str]) -> Problems:
    for index, value in enumerate(values):
        if value in values[:index]:
            yield ContractError(
                f"{field}[{index}].{key}", value, "is there twice", "keep one of them"
            )


def mounts_find_their_volume(spec: JobSpec, local: bool) -> Problems:
    """Each mount names a volume of `pod.volumes` and leaves our own paths alone."""
    volumes = [volume.name for volume in spec.pod.volumes]
    for index, mount in enumerate(spec.trainer.volume_mounts):
        field = f"spec.trainer.volumeMounts[{index}]"
        if mount.name not in volumes:
            guess = nearest(mount.name, volumes)
            remedy = f"did you mean {guess}?" if guess else "add the volume there"
            yield ContractError(
                f"{field}.name", mount.name, "names no volume of spec.pod.volumes", remedy
            )
        yield from _mount_is_free(f"{field}.mountPath", mount.mount_path)
        if mount.sub_path and (stray := _stray(mount.sub_path) or _absolute(mount.sub_path)):
            yield ContractError(f"{field}.subPath", mount.sub_path, stray, _BELOW)


def _absolute(path: str) -> str:
    return "is absolute" if path.startswith("/") else ""


def _mount_is_free(field: str, path: str) -> Problems:
    if stray := _stray(path) or ("holds a colon" if ":" in path else ""):
        yield ContractError(field, path, stray, _PLAINLY)
        return
    plain = posixpath.normpath(path)
    plain = "/" if plain == "//" else plain  # POSIX leaves two slashes as they are
    for own in OUR_PATHS:
        if _below(plain, own) or _below(own, plain):
            rule = f"covers {own}, which the pod itself needs"
            yield ContractError(field, path, rule, "mount it elsewhere")
            return


def labels_are_free(spec: JobSpec, local: bool) -> Problems:
    """Labels and annotations under our domain select pods; a job cannot write them."""
    for kind in ("labels", "annotations"):
        for key, value in getattr(spec.pod, kind).items():
            if key.partition("/")[0].endswith(names.GROUP):
                rule = f"lies under {names.GROUP}, which the operator writes"
                yield ContractError(f"spec.pod.{kind}[{key}]", value, rule, "remove it")


def paths_are_files(spec: JobSpec, local: bool) -> Problems:
    """Paths of this machine or of a volume: no object store yet; relative ones only on one machine."""
    for field, path in _paths(spec):
        if not path:
            yield ContractError(field, path, "is empty", "write a path")
        elif "://" in path:
            yield ContractError(field, path, "is no file path", "write a path on a volume")
        elif not local and not path.startswith("/"):
            rule = "is relative, which only `speechtrain run` on one machine can read"
            yield ContractError(field, path, rule, "write an absolute path on a volume")
        elif stray := _stray(path, relative=local):
            yield ContractError(field, path, stray, _PLAINLY)


_PLAINLY: Final = "write the path as it is meant"
_BELOW: Final = "write a path below the volume's root"


def _stray(path: str, *, relative: bool = False) -> str:
    """Why a path need not lie where it reads; a manifest on one machine may go up from its own folder."""
    if not path.isprintable():
        return "holds a control character"
    if path.split("/")[0] == "~":
        return "begins with `~`, which a shell alone makes a home directory"
    return (
        ""
        if relative or ".." not in path.split("/")
        else "goes up by `..`, out of the volume it names"
    )


def queue_has_its_gang(spec: JobSpec, local: bool) -> Problems:
    """A queue that nobody asks would let the job start at once."""
    policy = spec.run_policy.scheduling_policy
    if policy.queue and policy.gang is not Gang.KUEUE:
        field = "spec.runPolicy.schedulingPolicy.queue"
        rule = f"is for gang: {Gang.KUEUE.value} alone"
        yield ContractError(field, policy.queue, rule, "set gang: Kueue, or remove the queue")


def _paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    yield from paths_of(spec.checkpoint, "spec.checkpoint")
    if spec.data is not None:
        yield from paths_of(spec.data, "spec.data")
    yield from paths_of(spec.recipe, "spec.recipe")


def run_directory_has_a_name(spec: JobSpec, local: bool) -> Problems:
    """The root of a file system is nobody's to fill with checkpoints and logs."""
    uri = spec.checkpoint.uri
    if uri.startswith("/") and posixpath.normpath(uri).strip("/") == "":
        rule = "is the root of the file system"
        yield ContractError(
            "spec.checkpoint.uri", uri, rule, "write a directory for this job alone"
        )


def checkpoints_outlive_the_pod(spec: JobSpec, local: bool) -> Problems:
    """On a cluster the run directory lies on a volume that stays, or the job says that it may go.

    Of what a CSI driver makes for one pod only that driver knows whether it stays: by a claim one can see it.
    """
    uri = spec.checkpoint.uri
    if local or spec.checkpoint.ephemeral or not uri.startswith("/"):
        return
    mounted = mount_of(uri, spec)
    volume = mounted[1] if mounted else None
    if volume is None or volume.persistent_volume_claim is None:
        rule = (
            "lies on no volume" if volume is None else f"lies on the {volume.source} {volume.name}"
        )
        remedy = "mount a persistentVolumeClaim there, or set checkpoint.ephemeral: true"
        yield ContractError(
            "spec.checkpoint.uri", uri, f"{rule} and would be lost with its pod", remedy
        )


def mount_of(path: str, spec: JobSpec) -> tuple[VolumeMount, Volume | None] | None:
    """The mount that a path of the container lies below, the closest one, with its volume; None without one."""
    covering = [m for m in spec.trainer.volume_mounts if _below(path, m.mount_path)]
    if not covering:
        return None
    closest = max(covering, key=lambda mount: len(mount.mount_path.rstrip("/")))
    return closest, next((v for v in spec.pod.volumes if v.name == closest.name), None)


def _below(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


RULES: Final[tuple[Rule, ...]] = (
    one_recipe,
    recipe_has_its_data,
    text_comes_with_a_manifest,
    command_is_for_custom,
    environment_is_free,
    words_have_an_end,
    names_are_unique,
    mounts_find_their_volume,
    labels_are_free,
    paths_are_files,
    queue_has_its_gang,
    run_directory_has_a_name,
    checkpoints_outlive_the_pod,
)


def broken_rules(job: SpeechTrainingJob, *, local: bool) -> list[ContractError]:
    """All problems of a job whose every field has its shape."""
    return [*name_fits(job), *broken_spec_rules(job.spec, local=local)]


def broken_spec_rules(spec: JobSpec, *, local: bool) -> list[ContractError]:
    """All but what the job's name has to do with."""
    return [problem for rule in RULES for problem in rule(spec, local)]
