"""What the service answers when it does not classify, and why a person should look."""

TABLE: dict[str, tuple[str, str]] = {
    # service: problems
    "invalid_request": (
        "the request is not what {path} takes; look at: {fields}, and at /openapi.json",
        "请求不符合 {path} 的格式，请检查：{fields}，格式见 /openapi.json",
    ),
    "not_found": ("there is nothing at {path}; see /openapi.json", "{path} 不存在，见 /openapi.json"),
    "method_not_allowed": (
        "{path} does not answer {method}; see /openapi.json",
        "{path} 不支持 {method}，见 /openapi.json",
    ),
    "body_too_large": (
        "the request body has {size:.1f} MB or more, at most {limit:g} MB are allowed; send fewer calls at a time",
        "请求体至少 {size:.1f} MB，最多 {limit:g} MB，请分批发送",
    ),
    "too_many_calls": (
        "{calls} calls in one request, at most {limit} are allowed; send several requests",
        "一次请求含 {calls} 通，最多 {limit} 通，请分批发送",
    ),
    "too_many_turns": (
        "call {at} has {turns} turns, at most {limit} are allowed; join turns, or send the call in parts",
        "第 {at} 通有 {turns} 轮，最多 {limit} 轮，请合并轮次或拆分发送",
    ),
    "key_missing": (
        "an API key is needed; send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'",
        "需要 API 密钥，请用请求头 Authorization: Bearer KEY 或 X-API-Key: KEY 发送",
    ),
    "key_unknown": (
        "the API key is not known here, or was revoked; ask the operator for one",
        "API 密钥无效或已吊销，请向管理员申请",
    ),
    "host_refused": (
        "without API keys this service answers to 127.0.0.1 and localhost, not to {host!r}; make a key: ./tingsu keys add NAME",
        "没有 API 密钥时，本服务只以 127.0.0.1 和 localhost 应答，不以 {host!r} 应答；请先生成密钥：./tingsu keys add 名称",
    ),
    "scope_missing": (
        "the API key's scope is {scopes}, and {path} needs '{scope}'; ask the operator for a key with it",
        "该 API 密钥的权限为 {scopes}，{path} 需要 {scope} 权限，请向管理员申请",
    ),
    "rate_limited": (
        "key '{name}' may send {rate:g} requests a second; try again in {seconds} s",
        "密钥“{name}”每秒最多 {rate:g} 次请求，请在 {seconds} 秒后重试",
    ),
    "overloaded": ("too many requests wait; try again in {seconds} s", "排队的请求过多，请在 {seconds} 秒后重试"),
    "deadline_exceeded": (
        "not answered in time; send less at a time, or try again in {seconds} s",
        "未能按时处理，请减少每次发送的内容，或在 {seconds} 秒后重试",
    ),
    "call_too_large": (
        "call {at} does not fit into the engine's memory, though it is scored alone; send it shorter, or give the service more memory",
        "第 {at} 通即使单独处理，推理引擎内存仍不足，请缩短后重发，或为服务增加内存",
    ),
    "none_answers": (
        "no instance of the service can answer now; ask again in {seconds} s",
        "当前没有服务实例可以应答，请 {seconds} 秒后重试",
    ),
    "not_ready": ("the model is being loaded; try again in {seconds} s", "模型正在加载，请在 {seconds} 秒后重试"),
    "engine_unavailable": (
        "the engine stopped while it worked on this; try again in {seconds} s",
        "推理引擎中断，请在 {seconds} 秒后重试",
    ),
    "internal_error": (
        "something unexpected happened; the service's log has it under this request id",
        "发生意外错误，服务日志中可按此请求编号查到",
    ),
    # service: generation
    "slot_empty": (
        "this service has no model in slot '{slot}'; the operator loads one: ./tingsu serve --bundle FOLDER (classify), "
        "--generate FOLDER (generate)",
        "本服务的“{slot}”槽位没有模型；请管理员加载：./tingsu serve --bundle 目录（分类）、--generate 目录（生成）",
    ),
    "cannot_think": (
        "model {version} does not think: its chat template opens no <think> block; ask /generate, or have a thinking model loaded",
        "模型 {version} 不会思考：其对话模板没有 <think> 段；请改用 /generate，或加载会思考的模型",
    ),
    "too_long": (
        "the text has {tokens} tokens as the model reads it, at most {limit} leave room for an answer; send less",
        "文本按模型计有 {tokens} 个词元，最多 {limit} 个才留得下回答的空间，请缩短文本",
    ),
    "bad_messages": (
        "the model's chat template does not take these messages: {reason}",
        "模型的对话模板不接受这些消息：{reason}",
    ),
    # service: administration
    "reload_running": (
        "another bundle is being loaded; try again in {seconds} s",
        "正在加载另一个模型包，请在 {seconds} 秒后重试",
    ),
    "reload_memory": (
        "the new bundle needs about {needed:.0f} MB beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        'give the service more memory, or send {{"drain": true}} too: requests are refused with a time to come back meanwhile',
        "新模型包约需 {needed:.0f} MB，与现役模型包并存时内存不足：上限 {limit:.0f} MB，可用 {free:.0f} MB。"
        '请增加内存，或同时发送 {{"drain": true}}：先停旧的再加载新的，其间请求会被拒绝并告知重试时间',
    ),
    "reload_gpu_memory": (
        "the new bundle needs about {needed:.0f} MB of the GPU beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        'free some, or send {{"drain": true}} too: requests are refused with a time to come back meanwhile',
        "新模型包约需 {needed:.0f} MB 显存，与现役模型包并存时显存不足：共 {limit:.0f} MB，可用 {free:.0f} MB。"
        '请腾出显存，或同时发送 {{"drain": true}}：先停旧的再加载新的，其间请求会被拒绝并告知重试时间',
    ),
    "reload_refused": (
        "{reason}. Nothing was touched; the bundle before serves on",
        "新模型包不能上线：{reason}。未作任何改动，原模型包继续服务",
    ),
    "reload_failed": (
        "the new bundle cannot be loaded: {reason}. The bundle before serves on",
        "新模型包加载失败：{reason}。原模型包继续服务",
    ),
    "reload_undone": (
        "the new bundle cannot be loaded: {reason}. The bundle before is being loaded again",
        "新模型包加载失败：{reason}。正在重新加载原模型包",
    ),
    "candidate_memory": (
        "the candidate needs about {needed:.0f} MB beside the one that serves, and {free:.0f} of {limit:.0f} MB are free; "
        "give the service more memory, or roll out without a canary",
        "候选版本约需 {needed:.0f} MB，与现役模型包并存时内存不足：上限 {limit:.0f} MB，可用 {free:.0f} MB。"
        "请增加内存，或不经金丝雀直接上线",
    ),
    "candidate_missing": (
        "no candidate is loaded beside the one that serves; POST one to /admin/candidate",
        "现役模型包旁没有加载候选版本，请先向 /admin/candidate 提交（POST）",
    ),
    "candidate_serves": (
        "this bundle serves already, and there is none before it to compare it with; POST another one",
        "该模型包已在线上服务，且没有可比较的前一版本；请提交另一个模型包",
    ),
    "candidate_withdrawn": (
        "the candidate was withdrawn while it was being loaded; POST it again",
        "候选版本在加载过程中被撤回，请重新提交",
    ),
    "side_refused": (
        "the header X-Tingsu-Side needs a key with scope 'admin', and this key's scope is {scopes}; leave the header out",
        "请求头 X-Tingsu-Side 需要 admin 权限的密钥，而该密钥的权限为 {scopes}；请去掉该请求头",
    ),
    "side_unknown": (
        "the header X-Tingsu-Side says {side!r}; allowed are {known}",
        "请求头 X-Tingsu-Side 的值 {side!r} 无效，可选：{known}",
    ),
    "mirror_url": ("mirror_url: {reason}", "mirror_url 无效：{reason}"),
    "console_refused": ("{reason}", "未完成：{reason}"),
    "stopping": ("the service is stopping; ask again when it is back", "服务正在停止，请待恢复后重试"),
    # service: OpenAI's dialect
    "invalid_chat": (
        "the request is not a chat completion this model answers; look at: {fields}",
        "请求不是本模型可以回答的对话补全，请检查：{fields}",
    ),
    "model_not_found": ("there is no model '{model}' here; there is: {known}", "没有模型“{model}”，可用的有：{known}"),
    "unsupported_parameter": (
        "'{param}' asks for something that this model does not do; leave it out",
        "“{param}”要求的是该模型没有的功能，请去掉该参数",
    ),
    "unknown_parameter": (
        "'{param}' is no parameter of this request; leave it out, or correct its name",
        "没有“{param}”这个参数，请去掉或改正名称",
    ),
    # service: why a person should look
    "low_confidence": ("the model is not sure enough", "模型把握不足"),
    "low_label_mass": ("the model would rather answer something that is no category", "模型倾向于类别以外的回答"),
    "reviewed_category": ("calls of this category are always looked at", "该类别一律转人工复核"),
    "empty_call": ("there is no text in this call", "通话没有文字内容"),
}
