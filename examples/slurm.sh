#!/bin/bash
# Train on several nodes of a SLURM cluster: sbatch examples/slurm.sh malaria --set max_epochs=20
# What follows the script is passed to `diascope train`. Submitted again after an end by the time
# limit, a node or the user, the training goes on, with any number of nodes.
#SBATCH --job-name=diascope
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=08:00:00

# The data, the packs and the run must be on a file system that all nodes share.
export DIASCOPE_HOME="${DIASCOPE_HOME:-$SLURM_SUBMIT_DIR/diascope-home}"
export PYTHONSAFEPATH=1 # nothing is imported from the folder of the next line
cd "$SLURM_SUBMIT_DIR" || exit 1

processes="${SLURM_GPUS_ON_NODE:-1}" # a node; without GPUs a process computes with all its cores
export OMP_NUM_THREADS=$((SLURM_CPUS_PER_TASK / processes))
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

srun torchrun --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$processes" \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$first:29500" \
    -m diascope train "$@"
