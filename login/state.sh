# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot
# hide a special builtin (Bash Reference Manual, 6.11). A backslash before a command prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# Remove functions that hide programs which a job calls before the setup. Others are removed after the setup (known_state), which may use them.
\unset -f cat cd date hostname ln mv readlink rm sleep
\unalias -a
\shopt -u expand_aliases
IFS=$' \t\n'
known_state() {
  local name
  set +abefkmntuvxCEPT -hB +o pipefail +o posix
  shopt -u dotglob extglob failglob nocaseglob nocasematch nullglob globstar lastpipe xpg_echo extdebug execfail expand_aliases \
    inherit_errexit localvar_inherit localvar_unset cdable_vars cdspell autocd shift_verbose checkhash varredir_close 2>/dev/null
  IFS=$' \t\n'
  unset CDPATH GLOBIGNORE GREP_OPTIONS TAR_OPTIONS TMOUT 2>/dev/null
  trap - DEBUG ERR RETURN
  # Remove functions that hide a builtin or a program (cd, rm). Keep other functions, because the job's setup may need them (module). Keep
  # functions with the names of the scheduler's and Apptainer's commands, because the site wants users to call its wrappers.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Do not export the options of this script, because a program that is a bash script (a site's sbatch) would inherit them.
  export -n SHELLOPTS BASHOPTS
  return 0
}
