# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
# In POSIX mode no function hides a special builtin (Bash Reference Manual, 6.11); a backslash prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# The other functions that hide programs are removed after the setup, which may use them (known_state). A job calls these before.
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
  # Remove functions that hide a builtin or a program (cd, rm). Keep others: the job's setup may need them (module). Keep a
  # site's wrappers of the scheduler's and Apptainer's commands: they are how the site calls them.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Programs that are bash scripts (a site's sbatch) would inherit this script's options.
  export -n SHELLOPTS BASHOPTS
  return 0
}
