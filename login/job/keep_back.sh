# --- login/job/keep_back.sh: HTCondor transfers every new file of this folder. A file that cannot be read would hold the job (hold code
# 12, subcode 13), and a named pipe would block. HTCondor transfers no folders, so such files are moved into one.
for path in ./* ./.[!.]* ./..?*; do
  if [ -p "$path" ]; then
    why='is a named pipe'
  elif [ -f "$path" ] && [ ! -r "$path" ]; then
    why='may not be read'
  else
    continue
  fi
  mkdir -p .hpcdeploy-kept && mv -f "$path" .hpcdeploy-kept/ && echo "$path $why: it is left out of the outputs" >&2
done
