# --- login/job/keep_back.sh: move files that HTCondor cannot transfer into a folder, because HTCondor transfers every new file in the working
# folder, but no folders. HTCondor would hold the job for a file that cannot be read (hold code 12, subcode 13), and a named pipe would block
# the transfer.
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
