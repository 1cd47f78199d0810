"""What Azure ML runs for an MLflow model that is deployed without a scoring script, as far as a table of texts meets it.

Microsoft's script is /var/mlflow_resources/mlflow_score_script.py of its MLflow inference images (azureml-assets,
assets/inference/environments). This one imports the same packages, unconditionally too, takes the same requests and hands the same
table to the same function of MLflow.
"""

import os
from typing import Any

import pandas as pd
from azureml.ai.monitoring import Collector
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema
from mlflow.models import Model
from mlflow.pyfunc import load_model
from mlflow.pyfunc.scoring_server import _get_jsonable_obj
from mlflow.types.schema import Schema

FOLDER = os.path.join(os.environ["AZUREML_MODEL_DIR"], os.environ["MLFLOW_MODEL_FOLDER"])  # noqa: PTH118 (as there)
signature = Model.load(FOLDER).signature
model = load_model(FOLDER)


def sample(schema: Schema) -> PandasParameterType:
    """What inference-schema makes tables of, from an empty one."""
    types = dict(zip(schema.input_names(), schema.pandas_types(), strict=True))
    return PandasParameterType(pd.DataFrame(columns=[*types]).astype(types), enforce_shape=False, orient="split")


def init() -> None:
    """Collect nothing: data collection is off where a deployment does not ask for it."""
    assert callable(Collector)


@input_schema("input_data", sample(signature.inputs))
@output_schema(sample(signature.outputs))
def run(input_data: Any) -> Any:
    """Answer one request."""
    return _get_jsonable_obj(model.predict(input_data), pandas_orient="records")
