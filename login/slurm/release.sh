# --- login/slurm/release.sh: print the release of Slurm that the command $1 belongs to, as a number: 2405 for 24.05, 0 if it is unknown.
slurm_release() {
  local version
  version=$("$1" --version 2>/dev/null) || version=""
  if [[ $version =~ ([0-9]+)\.([0-9]+) ]]; then
    echo "$((10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}))"
  else
    echo 0
  fi
}
