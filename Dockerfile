# Beam's Python worker with TensorFlow for CPUs and NVIDIA GPUs, and attribeam; every package as the lock file pins it.
#   docker build --tag IMAGE .
# Serves Dataflow (--sdk_container_image=IMAGE) and Flink (--environment_type=DOCKER --environment_config=IMAGE, or as a
# worker pool beside each task manager: --worker_pool).
FROM apache/beam_python3.11_sdk:2.77.0

WORKDIR /opt/attribeam
COPY launch_scripts/worker_image/requirements.txt ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.txt
COPY setup.py pyproject.toml README.md ./
COPY pipeline ./pipeline
COPY transforms ./transforms
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation .
RUN python -c "import pipeline.launch, transforms.attribution.explainer, tensorflow"
# Where Dataflow mounts the driver of the machine.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64
