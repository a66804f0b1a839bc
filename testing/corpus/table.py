"""Writes docs/corpus.md."""

from collections import Counter

from judge import NEEDS

HEAD = """# What is found in files

Made by `make corpus`: do not edit. Each file of [testing/corpus.toml](../testing/corpus.toml), as it is and without its symbol table, against a truth that was had in another way.

| word | meaning |
|---|---|
| right | the answer is the truth |
| refused | no answer, and there is nothing to find: the list says why |
| missing | no answer, though there is one |
| wrong | another answer than the truth |
| unproven | an answer, but nothing to compare it with |

CPU time is that of `ecapture inspect`, the lowest of five runs; memory is its peak, but never less than the measuring Python process, about 20 MiB.
"""


def render(verdicts):
    lines = [HEAD, summary(verdicts), ""]
    lines.append("| file | library | machine | form | " + " | ".join(need.replace("_", " ") for need in NEEDS) + " | ms | MiB |")
    lines.append("|---" * (len(NEEDS) + 6) + "|")
    for verdict in verdicts:
        entry = verdict.entry
        words = [verdict.answers[need].word for need in NEEDS]
        row = [entry["id"], entry["library"], entry["machine"], verdict.form, *words]
        lines.append(f"| {' | '.join(row)} | {verdict.seconds * 1000:.0f} | {verdict.memory / 1024:.0f} |")
    lines += ["", "## Not right", ""]
    lines += [f"- {name}" for name in sorted(complaints(verdicts))] or ["Nothing."]
    return "\n".join(lines) + "\n"


def complaints(verdicts):
    for verdict in verdicts:
        for need, answer in verdict.answers.items():
            if answer.word != "right":
                yield f"{verdict.entry['id']}, {verdict.form}, {need.replace('_', ' ')}: {answer.word}: {answer.why}"


def summary(verdicts):
    words = Counter(answer.word for verdict in verdicts for answer in verdict.answers.values())
    total = sum(words.values())
    good = words["right"] + words["refused"]
    kinds = ", ".join(f"{count} {word}" for word, count in words.most_common())
    return f"{len(verdicts)} forms of {len({one.entry['id'] for one in verdicts})} files, {total} pairs of file and need: {good / max(total, 1):.1%} as they should be ({kinds})."
