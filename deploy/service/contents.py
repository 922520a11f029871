"""What the page /docs lists, and in which order: every endpoint in its group, with a line in both languages."""

from collections.abc import Mapping
from typing import Any

CONTENTS: Mapping[str, Mapping[tuple[str, str], str]] = {
    "分类 classification": {("post", "/api/v1/classify"): "对一通或一批通话分类 · classify one call or many"},
    "OpenAI": {
        ("post", "/v1/chat/completions"): "对话补全：分类或生成文本 · chat completion: a category, or text",
        ("get", "/v1/models"): "可用的模型 · the models there are",
        ("get", "/v1/models/{model}"): "单个模型 · one of them",
    },
    "文本生成 text generation": {
        ("post", "/api/v1/inference"): "生成一段文本 · generate a text",
        ("post", "/generate"): "续写提示词，并给出结束原因与用量 · the same, with why it ended and what it took",
        ("post", "/thinking"): "先思考再回答 · think, then answer",
    },
    "状态 state": {
        ("get", "/health"): "进程是否存活，有什么异常 · whether the process lives, and what is wrong",
        ("get", "/ready"): "能否接收请求 · whether it takes requests",
        ("get", "/model_info"): "正在服务的版本及其依据 · which version serves, on which evidence",
        ("get", "/stats"): "自启动以来的计数 · counts since the start",
        ("get", "/metrics"): "Prometheus 指标 · metrics for Prometheus",
    },
    "管理 administration": {
        ("post", "/admin/reload"): "切换到另一个模型包，不中断服务 · serve another bundle, without a pause",
        (
            "post",
            "/admin/candidate",
        ): "在旁加载候选版本，不分流量 · load a candidate beside what serves, without requests",
        ("put", "/admin/candidate"): "设定候选版本的流量份额与镜像 · the candidate's share of requests, and its mirror",
        ("delete", "/admin/candidate"): "撤下候选版本 · withdraw the candidate",
        ("delete", "/admin/previous"): "释放前一版本占用的内存 · give back the memory of the version before",
    },
}


def name(tree: dict[str, Any]) -> None:
    """Give each operation of an OpenAPI document its group and its line. KeyError: one is not listed here."""
    tree["tags"] = [{"name": group} for group in CONTENTS]
    places = {place: (group, line) for group, lines in CONTENTS.items() for place, line in lines.items()}
    for path, methods in tree["paths"].items():
        for method, operation in methods.items():
            group, operation["summary"] = places[method, path]
            operation["tags"] = [group]
