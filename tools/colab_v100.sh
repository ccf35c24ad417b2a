#!/usr/bin/env bash
# From a bare Colab GPU runtime (V100, T4, L4, A100, H100) to a Llama-2-7B QLoRA fit. Run two lines in a notebook:
#
#   !git clone https://github.com/OWNER/moviebot          (wherever the repository is)
#   !bash moviebot/tools/colab_v100.sh
#
# Run the second one again after a disconnect: what is done is skipped, and training goes on at the newest last.ckpt.
# For a run that outlives the machine, mount your Drive and add --out /content/drive/MyDrive/moviebot.
set -Eeuo pipefail
trap 'say "line $LINENO failed: $BASH_COMMAND"' ERR

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly repo
readonly python=${PYTHON:-python3}
# On the machine's own disk: a Drive is slow and has no links.
readonly venv=${XDG_CACHE_HOME:-$HOME/.cache}/moviebot/colab_venv
readonly smallest_mb=10000 # 4-bit weights 3.9 GB, LoRA and Adam 1.3 GB, activations

unset BNB_CUDA_VERSION # bitsandbytes must take its library for the CUDA that torch was built for

readonly lightning='--trainer.*, --model.*, --data.*, --seed_everything, --ckpt_path'

dry_run=false
data=
out=
configs=()
flags=()
checkpoint=

usage() {
  cat <<'USAGE'
usage: bash tools/colab_v100.sh [--dry_run] [--data DIR] [--out DIR] [--config FILE] [LightningCLI flags...]

  --dry_run      print every command, run none
  --data DIR     the cleaned data (default: OUT/data); built from the embedded sample where there is none
  --out DIR      checkpoints, logs and data (default: runs/colab/CONFIG in the repository)
  --config FILE  the experiment (default: configs/llm/llama2_7b_qlora.yaml); further ones go over the hardware's overlay
  LightningCLI flags: --trainer.*, --model.*, --data.*, --seed_everything, --ckpt_path, such as --trainer.max_steps=50

A dry run without a GPU takes COLAB_GPU_NAME, COLAB_GPU_CAPABILITY (7.0), COLAB_GPU_MEMORY_MB and COLAB_TORCH_VERSION.
USAGE
}

say() { printf 'colab: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 2
}

# Print a command so that it can be pasted into a shell; run it unless this is a dry run.
run() {
  local word line=
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,+@%-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
  done
  printf '+%s\n' "$line"
  "$dry_run" || "$@"
}

# The value of a flag that needs one, in either form: --flag VALUE or --flag=VALUE.
value_of() {
  local flag=$1 next=${2-}
  if [[ $flag == *=* ]]; then next=${flag#*=}; fi
  [[ -n $next && $next != --* ]] || die "${flag%%=*} needs a value: --help shows how"
  printf '%s' "$next"
}

parse_flags() {
  local flag value
  while (($#)); do
    flag=$1
    case $flag in
      -h | --help) usage && exit 0 ;;
      --dry_run) dry_run=true ;;
      --data | --data=* | --out | --out=* | --config | --config=*)
        value=$(value_of "$flag" "${2-}") || exit 2
        [[ $flag == *=* ]] || shift
        case ${flag%%=*} in
          --data) data=$(realpath -m -- "$value") ;;
          --out) out=$(realpath -m -- "$value") ;;
          *) value=$(find_config "$value") && configs+=("$value") || exit 2 ;;
        esac
        ;;
      --trainer.* | --model.* | --data.* | --seed_everything | --seed_everything=* | --ckpt_path | --ckpt_path=*)
        value=$(value_of "$flag" "${2-}") || exit 2
        flags+=("${flag%%=*}=$value")
        [[ $flag == *=* ]] || shift
        ;;
      *) die "$flag is no flag: allowed are --help, --dry_run, --data, --out, --config and LightningCLI's $lightning" ;;
    esac
    shift
  done
  if ((${#configs[@]} == 0)); then
    value=$(find_config configs/llm/llama2_7b_qlora.yaml) || exit 2
    configs=("$value")
  fi
  value=${configs[0]##*/}
  out=${out:-$repo/runs/colab/${value%.*}}
  data=${data:-$out/data}
}

# A config by its path from here, or from the repository.
find_config() {
  local path
  for path in "$1" "$repo/$1"; do
    if [[ -f $path ]]; then realpath -- "$path" && return; fi
  done
  die "--config $1: no such file here or in $repo"
}

check_python() {
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "moviebot needs Python 3.11 or newer, $python is $("$python" -V): set PYTHON=/path/to/newer"
}

detect_gpu() {
  local row=
  if "$dry_run" && [[ -n ${COLAB_GPU_NAME-} ]]; then
    row="$COLAB_GPU_NAME, ${COLAB_GPU_CAPABILITY-}, ${COLAB_GPU_MEMORY_MB-}"
  elif command -v nvidia-smi >/dev/null; then
    row=$(nvidia-smi --query-gpu=name,compute_cap,memory.total --format=csv,noheader,nounits 2>/dev/null) || row=
    row=${row%%$'\n'*} # one GPU trains
  fi
  [[ -n $row ]] || die "no GPU found: in Colab choose Runtime > Change runtime type > a GPU, then run this again"
  [[ $row =~ ^(.+),\ ([0-9]+)\.([0-9]+),\ ([0-9]+)$ ]] ||
    die "the GPU can't be read from '$row': needed are its name, compute capability (7.0) and memory in MB"
  gpu=${BASH_REMATCH[1]} major=${BASH_REMATCH[2]} memory_mb=${BASH_REMATCH[4]}
  capability=$major.${BASH_REMATCH[3]}
  printf 'GPU: %s, compute capability %s, %d MB\n' "$gpu" "$capability" "$memory_mb"
  ((major >= 6)) || die "$gpu (capability $capability) is too old: bitsandbytes needs 6.0 or newer; choose another GPU"
  ((memory_mb >= smallest_mb)) || say "warning: Llama-2-7B in 4 bits needs $smallest_mb MB, this GPU has $memory_mb MB"
}

# The overlay by name where there is one; an unknown GPU by its number format (bfloat16 from 8.0 on) and its memory.
choose_overlay() {
  local overlay
  overlay_flags=()
  case $gpu in
    *V100*) overlay=v100 ;;
    *"Tesla T4"*) overlay=t4 ;;
    *)
      if ((major < 8)); then
        overlay=t4
        if [[ $capability == 7.0 ]]; then overlay=v100; fi
      elif ((memory_mb < 36000)); then
        # L4 (22 GB), A10, a slice of an A100: the batches of a V100 or a T4, but in bfloat16 (no loss scaling)
        overlay=t4
        if ((memory_mb >= 15000)); then overlay=v100; fi
        overlay_flags=(--trainer.precision=bf16-mixed)
      elif [[ $gpu == *A100* ]] || ((memory_mb < 70000)); then
        overlay=a100
      else
        overlay=h100
      fi
      ;;
  esac
  overlay=$repo/configs/hardware/$overlay.yaml
  [[ -f $overlay ]] || die "$overlay is missing: clone the whole repository"
  hardware=$overlay
  printf 'Overlay: %s\n' "${overlay#"$repo"/}${overlay_flags[*]:+ ${overlay_flags[*]}}"
}

check_out() {
  if [[ $out/ == /content/drive/* && ! -d /content/drive/MyDrive ]]; then
    say '--out is on your Drive, which is not mounted; run this in a cell, then the same line again:' \
      'from google.colab import drive; drive.mount("/content/drive")'
    "$dry_run" || exit 2
  elif [[ $out/ != /content/drive/* ]]; then
    printf 'Checkpoints: %s (lost with the machine; --out /content/drive/MyDrive/... keeps them)\n' "$out"
  fi
}

# The base model: a flag wins over the configs, of which the last wins.
find_base() {
  local flag base
  base=$(sed -nE 's/^ +base: *["'\'']?([^"'\''# ]+).*/\1/p' "${configs[@]}" | tail -n 1)
  for flag in "${flags[@]}"; do
    if [[ $flag == --model.init_args.base=* || $flag == --model.base=* ]]; then base=${flag#*=}; fi
  done
  [[ -n $base ]] || die "no base model in ${configs[*]}: give --model.init_args.base=NAME"
  printf '%s' "$base"
}

check_access() {
  local base
  base=$(find_base) || exit 2
  run "$python" "$repo/tools/colab_access.py" "$base" || exit 2
  if "$dry_run"; then "$python" "$repo/tools/colab_access.py" --token_only "$base" || true; fi
}

# A torch that fits the GPU stays (the environment then sees the runtime's packages); else the environment has its own,
# from PyTorch's index and alone: the runtime's torchvision would not load beside it.
install() {
  local choice=() pip=("$python" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check)
  local constraints=$venv/constraints.txt marker=$venv/installed state
  local own='^(torch|torchvision|torchaudio|triton|setuptools|nvidia-.*|cuda-.*)=='
  [[ -f $repo/constraints.txt ]] || die "$repo/constraints.txt is missing: clone the whole repository"
  mapfile -t choice < <("$python" "$repo/tools/colab_check.py" torch "$capability")
  ((${#choice[@]} > 1)) || die "the choice of torch failed: see above"
  printf 'torch: %s\n' "${choice[*]}"
  state=$(cat "$repo/constraints.txt" "$repo/pyproject.toml" <(printf '%s\n' "$repo" "${choice[@]}") | sha256sum)
  if [[ -f $marker && $(<"$marker") == "$state" ]]; then
    printf 'Environment: %s is up to date\n' "$venv"
    return
  fi
  # --without-pip: Colab's Python has no ensurepip; the runtime's own pip installs into the environment.
  if [[ ${choice[0]} == keep ]]; then
    run "$python" -m venv --clear --without-pip --system-site-packages "$venv"
  else
    run "$python" -m venv --clear --without-pip "$venv"
    run "${pip[@]}" --index-url "${choice[1]}" "${choice[2]}" ||
      die "torch can't be installed from ${choice[1]}: see above"
  fi
  # The exact versions of every package but torch and what comes with it.
  run bash -c 'grep -viE "$1" "$2" >"$3"' constraints "$own" "$repo/constraints.txt" "$constraints"
  if [[ ${choice[0]} == keep ]]; then
    run bash -c 'echo "torch==$1" >>"$2"' constraints "${choice[1]%%+*}" "$constraints"
  fi
  run "${pip[@]}" --constraint "$constraints" --editable "$repo" || die "the packages can't be installed: see above"
  "$dry_run" || printf '%s' "$state" >"$marker"
}

build_data() {
  local moviebot=("$venv/bin/python" -m moviebot)
  if [[ -f $data/catalogue.parquet && -f $data/qa.jsonl && -f $data/recommendations.jsonl ]]; then
    printf 'Data: %s\n' "$data"
    return
  fi
  if [[ ! -f $data/catalogue.parquet ]]; then
    say "no catalogue in $data: building it from the embedded sample of a few hundred films (--data DIR takes yours)"
    run "${moviebot[@]}" catalogue --sample true --out "$data" || exit
  fi
  run "${moviebot[@]}" teach --out "$data" --teacher template || exit
  run "${moviebot[@]}" clean --out "$data" || exit
}

# Where an earlier run stopped, unless the person names a checkpoint.
find_checkpoint() {
  local remembered=$out/hardware.txt
  if [[ " ${flags[*]} " == *" --ckpt_path="* || ! -d $out ]]; then return; fi
  checkpoint=$("$python" "$repo/tools/colab_check.py" checkpoint "$out") || exit 2
  [[ -n $checkpoint ]] || return 0
  printf 'Resuming: %s\n' "$checkpoint"
  if [[ -f $remembered && $(<"$remembered") != "$hardware ${overlay_flags[*]}" ]]; then
    say "warning: the run began with $(<"$remembered"): where its batch size differs," \
      "some samples of this epoch come twice or never"
  fi
}

# W&B only where the person is logged in; a mode that they chose stays.
log_offline() {
  [[ -z ${WANDB_MODE-} && -z ${WANDB_API_KEY-} ]] && ! grep -qs 'api\.wandb\.ai' "${NETRC:-$HOME/.netrc}"
}

fit() {
  local config line=("$venv/bin/python" -m moviebot fit --config "${configs[0]}" --config "$hardware")
  line+=("${overlay_flags[@]}")
  for config in "${configs[@]:1}"; do line+=(--config "$config"); done
  line+=("--trainer.default_root_dir=$out" "--data.init_args.data_dir=$data" "${flags[@]}")
  if [[ -n $checkpoint ]]; then line+=("--ckpt_path=$checkpoint"); fi
  if log_offline; then line=(env WANDB_MODE=offline "${line[@]}"); fi
  if ! "$dry_run"; then
    mkdir -p "$out"
    printf '%s' "$hardware ${overlay_flags[*]}" >"$out/hardware.txt"
  fi
  trap - ERR # moviebot words its own errors
  run "${line[@]}"
}

main() {
  parse_flags "$@"
  check_python
  detect_gpu
  choose_overlay
  check_out
  check_access
  install
  run "$venv/bin/python" "$repo/tools/colab_check.py" gpu || exit 2
  build_data
  find_checkpoint
  fit
}

main "$@"
