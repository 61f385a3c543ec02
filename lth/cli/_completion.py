"""`lth completion`: TAB completion of commands, groups, options, keys and values, for bash and zsh.

  eval "$(lth completion bash)"    in ~/.bashrc
  eval "$(lth completion zsh)"     in ~/.zshrc, after `autoload -Uz compinit && compinit`

Hydra's own completion works for scripts only, and composes the configuration at every TAB. This one reads names and
valid values from the files of lth's groups.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import cache

from lth.cli._comments import groups, options
from lth.cli._value_tables import Line, lines

# `lth completion words LINE` prints the possible last words of LINE, one per line
_BASH = """\
_lth() {
    local line=${COMP_LINE:0:COMP_POINT} prefix="" word
    [[ ${line##* } == *[=:]* ]] && prefix=${line##* } && prefix=${prefix%"${prefix##*[=:]}"}
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -n $word ]] && COMPREPLY+=("${word#"$prefix"}")
        [[ $word == *[=.,] ]] && compopt -o nospace 2>/dev/null
    done < <(lth completion words "$line" 2>/dev/null)
}
complete -o bashdefault -o default -F _lth lth
"""
_ZSH = """\
_lth() {
    local -a found open
    found=("${(@f)$(lth completion words "$LBUFFER" 2>/dev/null)}")
    found=(${found:#})
    open=(${(M)found:#*[=.,]})
    found=(${found:#*[=.,]})
    (( $#found + $#open )) || { _files; return }
    (( $#open )) && compadd -S '' -- $open
    (( $#found )) && compadd -- $found
    return 0
}
compdef _lth lth
"""
_TICKET = ("show", "compare", "treat", "apply", "extract", "import", "export", "thin")  # commands of `lth ticket`


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a shell's completion script, or the possible last words of a line.

    arguments: those after `lth completion`; None = those of the process
    """
    parser = argparse.ArgumentParser(
        prog="lth completion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "shell", choices=["bash", "zsh", "words"], metavar="bash|zsh", help="shell to print the script for"
    )
    parser.add_argument("line", nargs="?", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    scripts = {"bash": _BASH, "zsh": _ZSH}
    print(scripts[given.shell] if given.shell in scripts else "\n".join(candidates(given.line)))


def candidates(line: str) -> list[str]:
    """The possible last words of a command line. A word that ends in `=`, `.` or `,` is not complete.

    line: the command line up to the cursor, beginning with `lth`
    """
    from lth.cli.main import COMMANDS  # imported here: that module imports this one by name

    *before, last = re.split(r"\s+", line.lstrip()) if line.strip() else [""]
    if len(before) <= 1:
        found: Iterator[str] = iter(COMMANDS)
    elif before[1] == "run":
        found = _of_run(last)
    elif before[1] == "help":
        found = _of_help(last)
    else:
        found = iter({"ticket": _TICKET, "completion": ("bash", "zsh")}.get(before[1], ()) if len(before) == 2 else ())
    return sorted({word for word in found if word.startswith(last)})


def _of_run(last: str) -> Iterator[str]:
    """Completions of an override: `group=option`, `key=value`, or a comma-separated list of values for a sweep."""
    name, sets, value = last.partition("=")
    sign = name[: len(name) - len(name.lstrip("+~"))]
    if not sets:
        yield from (f"{sign}{group}=" for group in groups())
        yield from (f"{sign}{word}" for word in _keys(name[len(sign) :], "="))
        return
    chosen = value[: value.rfind(",") + 1]
    known = options(name[len(sign) :]) if name[len(sign) :] in groups() else _values(name[len(sign) :])
    yield from (f"{name}={chosen}{option}" for option in known)


def _of_help(last: str) -> Iterator[str]:
    group, sets, _ = last.partition("=")
    if sets:
        yield from (f"{group}={option}" for option in options(group))
        return
    yield from groups()
    yield from (f"{group}=" for group in groups() if group == last)
    yield from _keys(last, "")


def _keys(begun: str, end: str) -> Iterator[str]:
    """Keys that begin with `begun`, up to their next dot; `end` follows whole keys: `recipe.`, then `recipe.lr=`."""
    at = begun.rfind(".") + 1
    for line in _lines():
        if line.key.startswith(begun):
            name, dot, _ = line.key[at:].partition(".")
            yield f"{begun[:at]}{name}{dot or end}"


def _values(key: str) -> Iterator[str]:
    """The values of a key whose line in the table of valid values lists them."""
    for valid in (valid for line in _lines() if line.matches(key) for valid in line.valid.values()):
        if valid.says.startswith("true or false"):
            yield from ("true", "false")
        elif valid.says.startswith("one of "):
            yield from re.sub(r",? or null$", "", valid.says.removeprefix("one of ")).split(", ")
        if valid.says.endswith("null"):
            yield "null"


@cache
def _lines() -> tuple[Line, ...]:
    return tuple(line for line in lines() if "*" not in line.key)
