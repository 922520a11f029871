"""Settings of where things are: the store, MLflow, the ports."""

from configs.section import Port, Section


class StoreSettings(Section):
    """Where artefacts live. `url`: empty for `$TINGSU_HOME/store`, a folder, or `s3://bucket/prefix`."""

    url: str = ""
    endpoint_url: str | None = None


class MlflowSettings(Section):
    """Tracking and registry. `uri`: empty for the embedded SQLite file, or the server's address."""

    uri: str = ""
    experiment: str = "tingsu"
    model: str = "complaints"


class PortSettings(Section):
    """All on loopback unless `serve.host` says otherwise."""

    service: Port = 8000
    console: Port = 8080
    mlflow: Port = 5001
    prefect: Port = 4200
    engines_from: Port = 8100
