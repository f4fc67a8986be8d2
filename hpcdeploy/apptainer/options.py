"""Quote option values that Apptainer's command line would not accept unchanged."""

_SPECIAL = frozenset(',"\r\n')


def build_argument(name: str, value: str) -> str:
    """Return the value of ``--build-arg`` that sets the argument `name` to exactly `value`.

    Apptainer declares the option as a list of strings (``buildVarArgsFlag`` in cmd/internal/cli/build.go, registered by
    ``StringSliceVarP`` in pkg/cmdline/flag.go; Apptainer 1.4.5 and 1.5.3), and pflag parses every value of such an option as
    one CSV record (``readAsCSV`` in string_slice.go of pflag 1.0.6 and 1.0.10). There a comma starts another argument, and a
    double quote is an error. So such a value is written as one quoted field (RFC 4180, section 2).
    """
    word = f"{name}={value}"
    return '"' + word.replace('"', '""') + '"' if _SPECIAL & set(word) else word
