#!/usr/bin/env bash
# A study on a Slurm cluster: Ray carries the trainings to every node of the job, the coordinator runs on the first one.
#
#   sbatch --nodes=3 deploy/slurm.sh run under-100k
#   sbatch --gres=gpu:1 deploy/slurm.sh run standard --gpus-per-trial 0.5
#
# Every node must see this folder, its .venv with the extra `cluster`, and Fashion-MNIST (FMNIST_DATA, or --data) at the same place.
# Before the time limit Slurm interrupts the run: what is done is kept, and the same command in a new job goes on.
#SBATCH --job-name=fmnist-search
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=04:00:00
#SBATCH --signal=INT@120
#SBATCH --output=fmnist-search-%j.log
set -euo pipefail

export PATH="${FMNIST_VENV:-$PWD/.venv}/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n') # of this job alone
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=${FMNIST_RAY_PORT:-$((20000 + SLURM_JOB_ID % 10000))} # two jobs may share a node

# Starts Ray on all nodes, waits for them, gives the command on the first one and ends Ray with it.
exec srun --kill-on-bad-exit=0 ray symmetric-run --address "$first:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  fmnist-search "$@" --executor ray --address "$first:$port"
