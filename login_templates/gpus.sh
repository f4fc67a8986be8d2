[% if gpus.drivers %]
# Whose GPUs these are is known by the device that their driver makes[= '; without any, Apptainer warns and goes on' if gpus.flag =].
[% endif %]
gpu=[= gpus.flag or '""' =]
[% for driver in gpus.drivers %]
[= "if" if loop.first else "elif" =] [ -e /dev/[= driver.device =] ]; then
  gpu=[= driver.flag =]
[% endfor %]
[% if gpus.drivers %]
fi
[% endif %]
