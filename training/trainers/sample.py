"""Draw K completions for each prompt, to be ranked by people or compared blindly.

    python -m training.trainers.sample --config run/config.json

Reads PromptRow Parquet and appends CompletionRows to `run_dir/completions.jsonl` (`completions.py`), by one of three
engines: transformers with a decoder of our own, vLLM where it is installed, or an OpenAI-compatible endpoint that
holds the same model (`samplers.py`, `endpoint.py`). Of its `inputs`, `adapter` lays a LoRA adapter over the model,
which vLLM serves unmerged, and `few_shot` shows a base model worked examples (`few_shot.py`). It writes no checkpoint.
"""

from __future__ import annotations

from typing import Any

from training.records import sha256_file
from training.trainers import few_shot, hardware
from training.trainers.completions import Drawing, draw, kept, read_prompts
from training.trainers.config import SampleConfig
from training.trainers.endpoint import check_url
from training.trainers.inputs import ADAPTER, ENDPOINT, ENDPOINT_MODEL, FEW_SHOT
from training.trainers.models import adapter_rank
from training.trainers.program import Job, Outcome, TrainerError, main


def drawing_of(job: Job) -> Drawing:
    """What the config asks to be drawn, with its engine's own parameters where they are set."""
    config: SampleConfig = job.config
    extra: dict[str, Any] = {}
    if config.engine == "endpoint":
        extra |= {name: job.inputs.get(name, "") for name in (ENDPOINT, ENDPOINT_MODEL)}
    if ADAPTER in job.inputs:
        extra["adapter"] = job.inputs[ADAPTER]
    if FEW_SHOT in job.inputs:
        extra["few_shot_sha256"] = sha256_file(job.inputs[FEW_SHOT])
    return Drawing(
        model=job.model,
        k=config.k,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        batch_size=config.batch_size,
        seed=config.seed,
        extra=extra,
    )


def run(job: Job) -> Outcome:
    """Draw what is still missing; gives the file of completions and the speed."""
    prompts = read_prompts(job.data)
    config: SampleConfig = job.config
    adapter = job.inputs.get(ADAPTER)
    if config.engine == "endpoint":
        check_url(job.inputs.get(ENDPOINT, ""))
        if adapter:
            raise TrainerError("adapter is for a model that is loaded here; an endpoint has its own by endpoint_model.")
    if adapter:
        adapter_rank(adapter)
    examples = few_shot.read(job.inputs[FEW_SHOT]) if FEW_SHOT in job.inputs else []
    path = job.run_dir / "completions.jsonl"
    drawing = drawing_of(job)
    done = kept(job, path, prompts=prompts, drawing=drawing)

    from training.trainers.chat import encode_prompt
    from training.trainers.models import load_tokenizer_and_stop

    hardware.limit_threads()
    tokenizer, stop_text = load_tokenizer_and_stop(job.model)
    if examples and stop_text is None:
        raise TrainerError(f"few_shot is for models without a chat template, and {job.model} has one.")
    ids = [encode_prompt(tokenizer, prompt.prompt) for prompt in prompts]
    if examples:
        ids = [few_shot.before(tokenizer, examples, prompt) for prompt in ids]
    engine, sampler = _sampler(job, tokenizer, longest_prompt=max(len(prompt) for prompt in ids), stop_text=stop_text)
    drawn = draw(
        job,
        sampler,
        drawing=drawing,
        engine=engine,
        prompts=prompts,
        ids=ids,
        done=done,
        path=path,
        tokenizer=tokenizer,
        stop_text=stop_text,
    )
    rows = [row for group in drawn.rows for row in group]
    metrics = {
        "prompts": len(prompts),
        "completions": len(rows),
        "mean_tokens": sum(row.token_count for row in rows) / len(rows),
        "stopped_share": sum(row.finish_reason == "stop" for row in rows) / len(rows),
        "sample_seconds": drawn.seconds,
    }
    if drawn.tokens:
        metrics["tokens_per_s"] = drawn.tokens / drawn.seconds
    return Outcome(
        metrics=metrics,
        consumed={"rows": len(prompts), "tokens": sum(row.token_count for row in rows)},
        outputs={"completions": str(path)},
    )


def _sampler(job: Job, tokenizer: Any, *, longest_prompt: int, stop_text: str | None) -> tuple[str, Any]:
    from training.trainers.samplers import TransformersSampler, VllmSampler, choose_engine

    config: SampleConfig = job.config
    engine = choose_engine(config.engine)
    if engine == "endpoint":
        from training.trainers.endpoint import EndpointSampler

        job.events.status(f"Asking the endpoint {job.inputs[ENDPOINT]}.")
        return engine, EndpointSampler(
            job.inputs[ENDPOINT],
            model=job.inputs.get(ENDPOINT_MODEL, ""),
            stop=job.stop,
            stop_text=stop_text,
        )
    job.events.status(f"Loading the model into {'vLLM' if engine == 'vllm' else 'transformers'}.")
    if engine == "vllm":
        length = longest_prompt + config.max_new_tokens
        return engine, VllmSampler(
            job.model, tokenizer, max_length=length, stop_text=stop_text, adapter=job.inputs.get(ADAPTER)
        )
    return engine, TransformersSampler(
        job.model,
        tokenizer,
        stop=job.stop,
        stop_text=stop_text,
        adapter=job.inputs.get(ADAPTER),
        tell=job.events.status,
    )


if __name__ == "__main__":
    raise SystemExit(main("sample", run, about="Draw completions for prompts."))
