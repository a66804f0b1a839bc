"""Compares what `ecapture inspect` says of a file with the truth in corpus.toml."""

import json
import os
import subprocess
from dataclasses import dataclass

# Other programs take the caches away: on a busy machine one run may cost twice as much.
RUNS = 5
NEEDS = ("read", "write", "secret", "client_random", "master", "exporter")
# The functions that move plaintext, and where they leave the number of bytes.
MOVED = {
    "SSL_read": "returned", "SSL_read_ex": "at arg4", "SSL_read_early_data": "at arg4", "ssl_read_internal": "at arg4",
    "SSL_write": "returned", "SSL_write_ex": "at arg4", "SSL_write_ex2": "at arg5", "SSL_write_early_data": "at arg4",
}  # fmt: skip
# One of these sets sees every call of its direction; functions that a file does not have are left out.
SUFFICIENT = {
    "read": ({"ssl_read_internal"}, {"SSL_read", "SSL_read_ex"}),
    "write": ({"ssl_write_internal"}, {"SSL_write", "SSL_write_ex", "SSL_write_ex2"}),
}
# Files of other libraries are in the corpus to see that none of them is taken for one of these.
FAMILY = ("OpenSSL", "BoringSSL", "LibreSSL", "OpenSSL or a fork")
DOES = {"read": "gives plaintext: ", "write": "takes plaintext: ", "secret": "hands over a secret: "}
OFFSETS = {"client_random": ["client random"], "master": ["master secret", "its length"], "exporter": ["exporter secret"]}


@dataclass
class Answer:
    """One need of one file."""

    word: str  # right, wrong, missing, refused, unproven
    why: str

    @property
    def good(self):
        """`refused` is an answer where the truth says that there is nothing to find."""
        return self.word in ("right", "refused")


@dataclass
class Verdict:
    """One form of one file."""

    entry: dict
    form: str
    answers: dict
    seconds: float  # CPU time, the lowest of RUNS
    memory: int  # peak resident set, in KiB


def judge(entry, form, file, ecapture):
    report, usage = min((inspect(ecapture, file) for _ in range(RUNS)), key=lambda run: cpu_time(run[1]))
    truth, none = entry.get("truth", {}), entry.get("none", {})
    libraries = [library for library in report.get("libraries", []) if library["name"] in FAMILY]
    library = libraries[0] if libraries else {"functions": [], "offsets": [], "notes": [report.get("refused", "")]}
    answers = {}
    for need in NEEDS:
        given = functions(library, need) if need in DOES else offsets(library, need)
        if need in none:
            answers[need] = Answer("wrong", f"{given}, but {none[need]}") if given else Answer("refused", none[need])
        elif not given:
            answers[need] = Answer("missing", "; ".join(library["notes"]) or "no answer")
        elif need not in truth:
            answers[need] = Answer("unproven", f"{given}, and no truth to compare with")
        else:
            answers[need] = compare(need, given, truth, library)
    strays = stray_functions(library, truth.get("other", {}))
    if strays:
        answers["other"] = Answer("wrong", strays)
    return Verdict(entry, form, answers, cpu_time(usage), usage.ru_maxrss)


def cpu_time(usage):
    return usage.ru_utime + usage.ru_stime


def inspect(ecapture, file):
    """The answer as a dictionary, and what it took."""
    with subprocess.Popen([ecapture, "inspect", "--json", file], stdout=subprocess.PIPE) as child:
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1):
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return json.loads(output or "{}"), usage


def functions(library, need):
    return {one["name"]: one for one in library["functions"] if one["does"].startswith(DOES[need])}


def offsets(library, need):
    found = {one["name"]: one["place"] for one in library.get("offsets", [])}
    places = [found[name] for name in OFFSETS[need] if name in found]
    return places if len(places) == len(OFFSETS[need]) else None


def compare(need, given, truth, library):
    if need in OFFSETS:
        right = [truth[need][key] for key in ("place", "length") if key in truth[need]]
        return Answer("right", truth[need]["by"]) if given == right else Answer("wrong", f"{given}, not {right}")
    for name, function in given.items():
        if name not in truth[need]:
            return Answer("unproven", f"{name} at {function['address']:#x}")
        if function["address"] != truth[need][name]:
            return Answer("wrong", f"{name} at {function['address']:#x}, not {truth[need][name]:#x}")
        expected = expected_places(need, name, truth)
        if expected is not None and function["does"] != DOES[need] + expected:
            return Answer("wrong", f"{function['does']}; not: {expected}")
    present = set(truth[need])
    if need in SUFFICIENT and not any(one & present and one & present <= set(given) for one in SUFFICIENT[need]):
        return Answer("missing", f"only {', '.join(given)}: " + "; ".join(library["notes"]))
    return Answer("right", evidence(given))


def expected_places(need, name, truth):
    if need != "secret":
        # Since OpenSSL 3.3 it takes flags, too, as SSL_write_ex2 does, which a program may leave out.
        late = name == "ssl_write_internal" and ("SSL_write_ex2" in truth["write"] or truth.get("flags"))
        moved = "at arg5" if late else MOVED.get(name, "at arg4")
        return f"object arg1, buffer arg2, size arg3, moved bytes {moved}"
    if "client_random" not in truth:
        return None
    random = truth["client_random"]["place"].replace("object", "arg1")
    return f"object arg1, label arg2, secret arg3, length arg4, client random {random}"


def stray_functions(library, right):
    """Functions beside those of a need that are not where their symbols are."""
    found = {one["name"]: one["address"] for one in library["functions"]}
    return ", ".join(f"{name} at {found[name]:#x}, not {right[name]:#x}" for name in found.keys() & right if found[name] != right[name])


def evidence(given):
    return "; ".join(sorted({one["evidence"] for one in given.values()}))
