#!/usr/bin/env bash
# A study on a Slurm cluster: Ray runs the trainings on all nodes of the job, and the coordinator runs on the first one.
#
#   sbatch --nodes=3 deploy/slurm.sh run under-100k
#   sbatch --gres=gpu:1 deploy/slurm.sh run standard --gpus-per-trial 0.5
#
# Every node needs this folder, its .venv with the extra `cluster`, and Fashion-MNIST (FMNIST_DATA or --data) at the same path.
# Slurm interrupts the run before the time limit. Results are kept, and the same command in a new job resumes the study.
#SBATCH --job-name=fmnist-search
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=04:00:00
#SBATCH --signal=INT@120
#SBATCH --output=fmnist-search-%j.log
set -euo pipefail

export PATH="${FMNIST_VENV:-$PWD/.venv}/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n') # for this job only
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=${FMNIST_RAY_PORT:-$((20000 + SLURM_JOB_ID % 10000))} # two jobs may share a node

# Start Ray on all nodes, wait for them, run the command on the first one, and stop Ray afterwards.
exec srun --kill-on-bad-exit=0 ray symmetric-run --address "$first:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  fmnist-search "$@" --executor ray --address "$first:$port"
