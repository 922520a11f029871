"""A model of fifty thousand parameters that has learned one thought and one answer by heart, as a bundle of slot `generate`."""

import json
from pathlib import Path

from data_contracts.artifacts import BundleRef, GenerationSpeed, GenerationVerdict
from deploy import bundle, generation
from deploy.dialogue import Dialogue
from deploy.store import FolderStore
from tests import tiny

TURNS = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}"""
IF_ASKED = (
    TURNS
    + """
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\n\n</think>\n\n' }}
{%- endif %}"""
)
ALWAYS = TURNS + "\n{{- '<think>\n' }}"
TEMPLATES = {"no": TURNS, "if asked": IF_ASKED, "always": ALWAYS}
THOUGHT = "客户被多扣了三十元，先核实账单。"
ANSWER = "您好！多扣的三十元马上退给您😀，请放心龘。"
STEPS = 120


def write_speaker(folder: Path, thinks: str = "if asked") -> Path:
    """Train it, greedily sure of THOUGHT and ANSWER whatever it is asked; three seconds."""
    import torch
    from transformers import AutoModelForCausalLM

    tiny.write_base(folder, hidden_size=64, intermediate_size=128, head_dim=16, initializer_range=0.05)
    (folder / "chat_template.jinja").write_text(TEMPLATES[thinks], encoding="utf-8")
    dialogue, model = Dialogue.load(folder), AutoModelForCausalLM.from_pretrained(folder)
    rows = [_row(dialogue, line, thinking) for line in tiny.LINES for thinking in (True, False)]
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([[-100] * said + ids[said:] + [-100] * (width - len(ids)) for ids, said in rows])
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return folder


def _row(dialogue: Dialogue, line: str, thinking: bool) -> tuple[list[int], int]:
    """A conversation, and how many of its tokens are the question."""
    tokens = dialogue.tokens
    asked = dialogue.ids([{"role": "user", "content": line}], thinking)
    thought = [*tokens.text_ids(THOUGHT), *dialogue.end_think] if thinking and dialogue.can_think else []
    return [*asked, *thought, *tokens.text_ids(ANSWER), dialogue.stop_ids[0]], len(asked)


def speaker_bundle(store: FolderStore, model: Path) -> BundleRef:
    dialogue = Dialogue.load(model)
    context = json.loads((model / "config.json").read_text())["max_position_embeddings"]
    facts = generation.Facts(
        engine="transformers",
        quantization="merged",
        thinks=dialogue.thinks,
        stop_ids=dialogue.stop_ids,
        context_tokens=context,
    )
    return generation.assemble({file.name: file for file in model.iterdir()}, facts, store)


def verdict(digest: str, decision: str = "PROMOTE") -> GenerationVerdict:
    speed = GenerationSpeed(
        load_s=1, first_token_s=0.1, tokens_s=50, memory_mb=300, prompt_tokens=9, new_tokens=32, machine={}
    )
    return GenerationVerdict.model_validate(
        {
            "decision": decision,
            "bundle_digest": digest,
            "name": "speaker",
            "engine": "transformers",
            "quantization": "merged",
            "thinks": "if asked",
            "speed": speed,
            "bounds": (),
            "thresholds_digest": "d",
            "profile": "tiny",
            "created_at": "2026-11-22T00:00:00+00:00",
        }
    )


def promoted(home: Path, model: Path, decision: str = "PROMOTE") -> Path:
    """The folder of a bundle that may serve."""
    store = FolderStore(home / "store")
    ref = speaker_bundle(store, model)
    signed = bundle.sign(verdict(ref.digest, decision), bundle.keypair(home))
    bundle.attest(store, ref, "verdict.json", signed.model_dump_json().encode())
    return bundle.place(store, ref)


def write_chatter(folder: Path) -> Path:
    """A model that never ends, at some milliseconds a token, and cannot think."""
    tiny.write_base(
        folder,
        **{"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 12},
        max_position_embeddings=4096,
        eos_token_id=1,
    )
    (folder / "chat_template.jinja").write_text(TURNS, encoding="utf-8")
    return folder
