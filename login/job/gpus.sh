# --- login/job/gpus.sh: set gpu to Apptainer's option for this node's GPUs. $gpu_drivers has pairs DEVICE=OPTION; the first existing
# device decides.
for driver in "${gpu_drivers[@]}"; do
  if [ -e "/dev/${driver%%=*}" ]; then
    gpu=${driver#*=}
    break
  fi
done
