# Sourced by dist_train.sh and dist_test.sh: their checks, and the command of each framework on this machine.
# The caller has set $usage. Environment variables: those of mmseg's scripts, and DEVICE, WORK_DIR and PYTHON.

tools=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python}
nodes=${NNODES:-1}
node_rank=${NODE_RANK:-0}
device=${DEVICE:-cuda}

wrong() {  # MESSAGE: to stderr with the usage, exit status 2
    printf '%s: %s\n\n%s\n' "${0##*/}" "$1" "$usage" >&2
    exit 2
}

need() {  # NAME VALUE
    [[ -n $2 ]] || wrong "$1 is missing"
}

need_file() {  # NAME VALUE
    need "$1" "$2"
    [[ -f $2 ]] || wrong "$1: there is no file $2"
}

need_number() {  # NAME VALUE LEAST
    need "$1" "$2"
    [[ $2 =~ ^[0-9]+$ ]] && ((10#$2 >= $3)) || wrong "$1: expected a whole number from $3 on, got '$2'"
}

check_nodes() {
    need_number NNODES "$nodes" 1
    need_number NODE_RANK "$node_rank" 0
    ((10#$node_rank < 10#$nodes)) || wrong "NODE_RANK: expected 0 to $((nodes - 1)), got $node_rank"
    ((nodes == 1)) || need "MASTER_ADDR (host name of node 0)" "${MASTER_ADDR:-}"
    [[ $device == cuda || $device == cpu ]] || wrong "DEVICE: expected cuda or cpu, got '$device'"
    # CPU runs must not see GPUs: the frameworks use CUDA if they find it.
    [[ $device == cuda ]] || export CUDA_VISIBLE_DEVICES=-1
}

framework() {  # CONFIG -> detectron2, lazyconfig, mmseg or mmpretrain
    case $1 in
    *.yaml | *.yml | *.py | *.json) "$python" "$tools/framework.py" "$1" || exit 2 ;;
    *) wrong "CONFIG: expected detectron2's .yaml or .py (LazyConfig), or a .py of mmseg or mmpretrain, got $1" ;;
    esac
}

run() {  # COMMAND ARGS...: print the command, quoted for a shell, then run it in place of this script
    printf '+' >&2
    printf ' %q' "$@" >&2
    printf '\n' >&2
    exec "$@"
}

# A single machine gets a free port, so that two jobs on it never share one. PORT sets the port.

run_detectron2() {  # SCRIPT GPUS CONFIG ARGS...: one process of train_net.py or lazyconfig_train_net.py, which starts one per GPU
    local script=$1 gpus=$2 config=$3 url=auto
    shift 3
    if ((nodes > 1)) || [[ -n ${PORT:-} ]]; then
        url=tcp://${MASTER_ADDR:-127.0.0.1}:${PORT:-29500}
    fi
    run "$python" "$tools/$script" --config-file "$config" --num-gpus "$gpus" --num-machines "$nodes" \
        --machine-rank "$node_rank" --dist-url "$url" "$@"
}

run_mmseg() {  # GPUS train|test CONFIG ARGS...: torchrun, with a process of mmseg's or mmpretrain's script per GPU
    local gpus=$1 rendezvous=(--standalone)
    shift
    if ((nodes > 1)) || [[ -n ${PORT:-} ]]; then
        rendezvous=(--nnodes "$nodes" --node-rank "$node_rank" --master-addr "${MASTER_ADDR:-127.0.0.1}"
            --master-port "${PORT:-29500}")
    fi
    run "$python" "$tools/torchrun.py" "${rendezvous[@]}" --nproc-per-node "$gpus" "$tools/mmseg_tool.py" \
        --device "$device" "$@"
}
