"""Errors raised from this package, each with an exit code of its own.

::

    HpcdeployError                    1   also what the machine refuses: a full disk, a folder that cannot be written to
    ├── ConfigError                   2   a file or an option says what it may not say
    ├── EnvironmentFileError         65   pixi.toml, pixi.lock: cannot be read or understood
    ├── DefinitionError              66   a definition file that would be wrong
    ├── BuildError                   67   Apptainer's build, or its %test, failed
    ├── RegistryError                68   the registry refused, or could not be reached
    ├── TransportError               69   the cluster could not be reached
    │   └── ConnectionLostError      69   it was reached, and the connection died in the middle
    │       └── OverLimitError       69   a command there wrote more, or took longer, than is waited for
    ├── SchedulerError               70   the scheduler, or the login-node script, said no
    ├── UncertainSubmissionError     71   nobody can say yet whether the job was accepted
    ├── UnknownRunError              72   no such run in the record
    ├── MissingProgramError          73   a program that this step needs is not there
    ├── TemplateError                74   a template does not render
    ├── WaitTimeoutError             75   the run had not ended when the patience had
    ├── LabError                     76   the lab did not come up
    ├── AuthenticationError          77   a key, a host key, a password, a token was not accepted
    └── InstanceError                78   a container on this machine did not start, did not stop, or is not there

The numbers from 64 up are those that sysexits.h leaves to programs; ``hpcdeploy wait`` passes a job's own exit code through.
A message says what happened, what was expected and what to do.
"""


class HpcdeployError(Exception):
    """Base of every error that a person is meant to read; anything else is a defect of hpcdeploy."""

    exit_code = 1


class ConfigError(HpcdeployError):
    """A settings file or an option says something that is not allowed."""

    exit_code = 2


class EnvironmentFileError(HpcdeployError):
    """An environment's own files (``pixi.toml``, ``pixi.lock``) cannot be read, or contradict what is asked."""

    exit_code = 65


class DefinitionError(HpcdeployError):
    """What was asked for cannot be said safely in an Apptainer definition file."""

    exit_code = 66


class BuildError(HpcdeployError):
    """``apptainer build`` or the image's ``%test`` failed."""

    exit_code = 67


class RegistryError(HpcdeployError):
    """The registry refused a request, answered nonsense, or could not be reached."""

    exit_code = 68


class TransportError(HpcdeployError):
    """A cluster could not be reached: nothing was done there."""

    exit_code = 69


class ConnectionLostError(TransportError):
    """The connection died after a command was sent: the command may have run, in part or to its end."""


class OverLimitError(ConnectionLostError):
    """A command on a login node wrote more than is read, or took too long, and was ended; it may have done its work."""


class SchedulerError(HpcdeployError):
    """The scheduler, or the login-node script that speaks to it, refused."""

    exit_code = 70


class UncertainSubmissionError(HpcdeployError):
    """The connection died while submitting: the job may or may not be there. Submitting the same run again is safe."""

    exit_code = 71


class UnknownRunError(HpcdeployError):
    """No run of that id is on record."""

    exit_code = 72


class MissingProgramError(HpcdeployError):
    """A program that this step needs is not installed."""

    exit_code = 73


class TemplateError(HpcdeployError):
    """A template is missing, broken, or uses a name that nobody defined."""

    exit_code = 74


class WaitTimeoutError(HpcdeployError):
    """The runs had not ended when the time given to wait had."""

    exit_code = 75


class LabError(HpcdeployError):
    """The lab could not be brought up, or taken down."""

    exit_code = 76


class AuthenticationError(HpcdeployError):
    """A host key, a key, a password or a token was not accepted."""

    exit_code = 77


class InstanceError(HpcdeployError):
    """A container that goes on by itself on this machine could not be started or stopped, or is not there."""

    exit_code = 78
