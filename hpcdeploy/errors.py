"""Define the expected errors, each with its own exit code.

::

    HpcdeployError                    1   also an error of the machine: a full disk, a folder without write permission
    ├── ConfigError                   2   a settings file or an option is invalid
    ├── EnvironmentFileError         65   pixi.toml or pixi.lock cannot be read or is invalid
    ├── DefinitionError              66   the definition file would be wrong
    ├── BuildError                   67   Apptainer's build or its %test failed
    ├── RegistryError                68   the registry rejected the request or cannot be reached
    ├── TransportError               69   the cluster cannot be reached
    │   └── ConnectionLostError      69   the connection was lost during a command
    │       └── OverLimitError       69   a command there exceeded the limit of its output or time
    ├── SchedulerError               70   the scheduler or the login-node script failed
    ├── UncertainSubmissionError     71   it is unknown whether the job was accepted
    ├── UnknownRunError              72   the record has no such run
    ├── MissingProgramError          73   a required program is missing
    ├── TemplateError                74   a template cannot be rendered
    ├── WaitTimeoutError             75   the run did not end before the timeout
    ├── LabError                     76   the lab did not start
    ├── AuthenticationError          77   a key, host key, password or token was rejected
    └── InstanceError                78   a container on this machine did not start or stop, or does not exist

The exit codes begin at 64, as in sysexits.h, because ``hpcdeploy wait`` also returns the exit code of a job. A message tells
what happened, what was expected, and what to do.
"""


class HpcdeployError(Exception):
    """Base of all expected errors; any other exception is a defect of hpcdeploy."""

    exit_code = 1


class ConfigError(HpcdeployError):
    """A settings file or an option is invalid."""

    exit_code = 2


class EnvironmentFileError(HpcdeployError):
    """An environment's own files (``pixi.toml``, ``pixi.lock``) cannot be read, or contradict the request."""

    exit_code = 65


class DefinitionError(HpcdeployError):
    """The request cannot be expressed safely in an Apptainer definition file."""

    exit_code = 66


class BuildError(HpcdeployError):
    """``apptainer build`` or the image's ``%test`` failed."""

    exit_code = 67


class RegistryError(HpcdeployError):
    """The registry rejected a request, sent a malformed answer, or cannot be reached."""

    exit_code = 68


class TransportError(HpcdeployError):
    """A cluster cannot be reached; nothing was done there."""

    exit_code = 69


class ConnectionLostError(TransportError):
    """The connection was lost after a command was sent. The command may have run partly or completely."""


class OverLimitError(ConnectionLostError):
    """A command on a login node exceeded a limit of output or time, so hpcdeploy ended it. It may have run completely."""


class SchedulerError(HpcdeployError):
    """The scheduler, or the login node's script for it, rejected the request."""

    exit_code = 70


class UncertainSubmissionError(HpcdeployError):
    """The connection was lost during a submission, so the job may exist. Submitting the same run again is safe."""

    exit_code = 71


class UnknownRunError(HpcdeployError):
    """The record of runs has no run with the given id or name."""

    exit_code = 72


class MissingProgramError(HpcdeployError):
    """A required program is not installed."""

    exit_code = 73


class TemplateError(HpcdeployError):
    """A template is missing, broken, or uses an undefined name."""

    exit_code = 74


class WaitTimeoutError(HpcdeployError):
    """The runs did not end within the timeout."""

    exit_code = 75


class LabError(HpcdeployError):
    """The lab cannot be started or stopped."""

    exit_code = 76


class AuthenticationError(HpcdeployError):
    """A host key, a key, a password or a token was rejected."""

    exit_code = 77


class InstanceError(HpcdeployError):
    """A background container on this machine cannot be started or stopped, or does not exist."""

    exit_code = 78
