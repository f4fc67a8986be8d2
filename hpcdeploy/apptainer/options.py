"""Words of Apptainer's command line whose values it does not take as they stand."""

_SPECIAL = frozenset(',"\r\n')


def build_argument(name: str, value: str) -> str:
    """Return the word after ``--build-arg`` that gives the argument `name` exactly `value`.

    Apptainer declares the option as a list of strings (``buildVarArgsFlag`` in cmd/internal/cli/build.go, registered by
    ``StringSliceVarP`` in pkg/cmdline/flag.go; Apptainer 1.4.5 and 1.5.3), and pflag reads every value of such an option as
    one record of CSV (``readAsCSV`` in string_slice.go of pflag 1.0.6 and 1.0.10). A comma begins another argument there,
    and a double quote is an error. So a word with one of them is written as one quoted field, as RFC 4180 section 2 has it.
    """
    word = f"{name}={value}"
    return '"' + word.replace('"', '""') + '"' if _SPECIAL & set(word) else word
