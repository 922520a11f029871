"""The OpenAPI document: what FastAPI derives from the routes, with every way a request can fail and who may send it."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from deploy.service import contents
from deploy.service.access import OPEN, SCOPES_OF, Access
from deploy.service.problems import MEDIA, OPENAI, OpenAIProblem, Problem

SHAPES: tuple[type[Problem] | type[OpenAIProblem], ...] = (Problem, OpenAIProblem)
REFERENCE = "#/components/schemas/{model}"
BUSY = "排队已满、超时或模型未就绪，请按 Retry-After 重试"
TEXT_FAILS: Mapping[int, str] = {
    400: "请求体不是 UTF-8 的 JSON",
    404: "本服务没有加载生成模型",
    413: "请求体超过上限",
    422: "请求格式不对，或文本超过模型上下文",
    503: BUSY,
}
LOADS: Mapping[int, str] = {
    400: "请求体不是 UTF-8 的 JSON",
    404: "本服务没有加载分类模型，或没有候选版本",
    413: "请求体超过上限",
    422: "请求格式不对，或模型包未获准上线、已损坏、无法加载",
    503: "服务正在停止",
}
FAILS: Mapping[str, Mapping[int, str]] = {
    "/ready": {503: "模型正在加载或重启"},
    "/api/v1/classify": {
        400: "请求体不是 UTF-8 的 JSON",
        404: "本服务没有加载分类模型",
        413: "请求体、通话数或轮次数超过上限，或一通话单独处理时内存不足",
        422: "请求不是一通或一批通话",
        503: BUSY,
    },
    "/api/v1/inference": TEXT_FAILS,
    "/generate": TEXT_FAILS,
    "/thinking": {**TEXT_FAILS, 409: "该模型不会思考"},
    "/v1/models/{model}": {404: "没有这个模型"},
    "/v1/chat/completions": {
        400: "请求不是本模型可以回答的对话补全",
        404: "没有这个模型",
        413: "请求体超过上限，或通话单独处理时内存不足",
        503: BUSY,
    },
    "/admin/reload": {**LOADS, 409: "正在切换另一个模型包", 507: "内存放不下两个模型包，可用 drain 重新请求"},
    "/admin/candidate": {**LOADS, 409: "正在加载另一个模型包，或该版本已在线上", 507: "内存放不下两个模型包"},
    "/admin/previous": {404: "本服务没有加载分类模型"},
}
KEYED = {401: "没有 API 密钥，或密钥无效", 429: "该密钥请求过快，请按 Retry-After 重试"}
SCOPED = {403: "密钥没有所需的权限"}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "./tingsu keys add NAME --scope classify"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
ANSWER = {
    "conversation_id": "c-1",
    "category": {"key": "billing_dispute", "code": "A", "name_zh": "计费争议"},
    "probabilities": {"billing_dispute": 0.93, "unauthorised_charge": 0.04, "not_complaint": 0.03},
    "confidence": 0.93,
    "decision": "auto",
    "reasons": [],
    "model_version": "12+3fa9c1d2e4b5",
    "verdict_id": "9f1c2ab04d3e5f67",
    "synthetic": False,
    "tokens": 187,
    "truncated": 0,
    "evaluation": False,
}
INFERENCE: dict[str, Any] = {
    "摘要": {"value": {"text": "用一句话概括：客户反映宽带断了三天，要求赔偿。", "max_tokens": 128, "temperature": 0.7}}
}
GENERATE: dict[str, Any] = {
    "回复": {"value": {"prompt": "给投诉多扣费的客户写一条致歉短信。", "max_length": 200, "temperature": 0.7}}
}
THINKING: dict[str, Any] = {
    "分析": {"value": {"question": "客户三个月内投诉了五次信号差，应该先查什么？", "thinking_depth": 3}}
}
TEXT_CHAT: dict[str, Any] = {
    "生成": {
        "value": {
            "model": "generate",
            "messages": [{"role": "user", "content": "给投诉多扣费的客户写一条致歉短信。"}],
            "max_tokens": 256,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    },
    "不思考": {
        "value": {
            "model": "generate",
            "messages": [{"role": "user", "content": "用一句话概括：宽带断了三天，要求赔偿。"}],
            "chat_template_kwargs": {"enable_thinking": False},
        }
    },
}
CLASSIFIED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "分类结果，顺序与请求一致",
        "content": {
            "application/json": {
                "examples": {
                    "call": {"summary": "一通通话", "value": ANSWER},
                    "calls": {
                        "summary": "一批通话",
                        "value": {"results": [ANSWER], "model_version": "12+3fa9c1d2e4b5", "evaluation": False},
                    },
                }
            }
        },
    }
}
COMPLETION = {
    "id": "chatcmpl-6f1d",
    "object": "chat.completion",
    "created": 1795305600,
    "model": "complaints",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "billing_dispute", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 187, "completion_tokens": 1, "total_tokens": 188},
    "system_fingerprint": "12+3fa9c1d2e4b5",
    "classification": ANSWER,
}
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "description": "chat.completion.chunk 的 JSON，最后一条是 [DONE]"}},
}
COMPLETED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "complaints：类别的 key；generate：生成的文本。stream 为 true 时逐块发送，以 [DONE] 结束",
        "content": {
            "application/json": {"example": COMPLETION},
            "text/event-stream": {"itemSchema": EVENT},
        },
    }
}


def write(app: FastAPI, access: Access) -> None:
    """Have the application answer with this document; keys are in it while the service asks for them."""
    derived = app.openapi
    written: dict[bool, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        is_open = access.is_open
        if is_open not in written:
            app.openapi_schema = None
            written[is_open] = _complete(derived(), is_open)
        return written[is_open]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change the document


def _complete(tree: dict[str, Any], is_open: bool) -> dict[str, Any]:
    components = tree.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for shape in SHAPES:
        schema = shape.model_json_schema(ref_template=REFERENCE)
        schemas |= {**schema.pop("$defs", {}), shape.__name__: schema}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    if not is_open:
        components["securitySchemes"] = SCHEMES
    contents.name(tree)
    for path, methods in tree["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {str(status): _failure(path, said) for status, said in _fails(path, is_open)}
            if not is_open and path not in OPEN:
                operation["security"] = [{name: []} for name in SCHEMES]
    return tree


def _fails(path: str, is_open: bool) -> list[tuple[int, str]]:
    keyed = {} if is_open or path in OPEN else {**KEYED, **(SCOPED if path in SCOPES_OF else {})}
    return sorted({**FAILS.get(path, {}), **keyed}.items())


def _failure(path: str, said: str) -> dict[str, Any]:
    shape, media = (OpenAIProblem, "application/json") if path.startswith(OPENAI) else (Problem, MEDIA)
    return {"description": said, "content": {media: {"schema": {"$ref": REFERENCE.format(model=shape.__name__)}}}}
