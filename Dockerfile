# Two images: `web` (site, workers, beat: no torch) and `trainer` (the same and what trainers import).
#
#   docker build --target web --tag hone-web .
#   docker build --target trainer --tag hone-trainer [--build-arg TORCH_INDEX=…] .

FROM python:3.11-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app:/app/platform \
    PATH=/opt/venv/bin:$PATH
RUN useradd --uid 10001 --create-home hone
WORKDIR /app

# Packages are installed apart, so that pip's files stay out of the images.
FROM base AS web-packages
RUN python -m venv /opt/venv
COPY requirements/web.txt requirements/
RUN python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/web.txt

FROM web-packages AS trainer-packages
# An index with another build of torch (CPU or a CUDA version); empty takes pip's own.
ARG TORCH_INDEX=
COPY requirements/torch.txt requirements/
RUN python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements/torch.txt
COPY requirements/train.txt requirements/model.txt requirements/
RUN python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/train.txt \
 && python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements/model.txt

FROM base AS web
COPY --from=web-packages /opt/venv /opt/venv
COPY . .
# The key is for this one command; no key, database or broker is needed to collect files.
# The chmod is for source trees that were checked out under a strict umask.
RUN chmod -R a+rX . \
 && SECRET_KEY=for-collectstatic-only python manage.py collectstatic --no-input --verbosity 0 \
 && mkdir -p var/runs var/snapshots var/models var/corpora \
 && chown hone:hone var var/runs var/snapshots var/models var/corpora
USER hone

FROM base AS trainer
COPY --from=trainer-packages /opt/venv /opt/venv
COPY . .
RUN chmod -R a+rX . \
 && mkdir -p var/runs var/snapshots var/models var/corpora \
 && chown hone:hone var var/runs var/snapshots var/models var/corpora
USER hone
