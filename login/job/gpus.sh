# --- login/job/gpus.sh: choose Apptainer's option for the vendor's GPUs by the device that the driver makes ($gpu_drivers).
for driver in "${gpu_drivers[@]}"; do
  if [ -e "/dev/${driver%%=*}" ]; then
    gpu=${driver#*=}
    break
  fi
done
