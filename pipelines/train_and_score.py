"""The graph of train_and_score.yaml, composed in the SDK.

    python pipelines/train_and_score.py SUBSCRIPTION RESOURCE_GROUP WORKSPACE IMAGES

submits it to an Azure ML workspace. IMAGES is a folder of photos, one sub-folder a class.
"""

import sys
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, PyTorchDistribution, dsl, load_component
from azure.ai.ml.entities import PipelineJob

COMPONENTS = Path(__file__).resolve().parent.parent / "component"
MANY_SMALL_FILES = {"DATASET_MOUNT_BLOCK_BASED_CACHE_ENABLED": "true"}
"""For the mount of a folder that is read in every epoch."""


def component(name: str) -> Any:
    """A component of this repository, ready to be called as a node."""
    return load_component(COMPONENTS / f"{name}.yaml")


@dsl.pipeline(name="train_and_score", display_name="Train and score", default_compute="serverless")
def train_and_score(
    images,  # a uri_folder; the client knows no annotation for it
    image_size: int = 64,
    model_name: str = "resnet18",
    epochs: int = 5,
    batch_size: int = 16,
    learning_rate: float = 0.02,
    random_seed: int = 1,
) -> dict[str, Any]:
    """Train a network on images, score held-out ones, and evaluate."""
    convert = component("convert_to_image_directory")(input_dataset=images)
    split_image_directory = component("split_image_directory")
    hold_out = split_image_directory(input_image_directory=convert.outputs.output_image_directory, fraction=0.9)
    split = split_image_directory(input_image_directory=hold_out.outputs.output_image_directory1, fraction=0.9)
    transformation = component("init_image_transformation")(
        size=image_size, center_crop=True, crop_size=image_size, random_rotation=True, random_rotation_degrees=10
    )
    apply_image_transformation = component("apply_image_transformation")
    training_images = apply_image_transformation(
        mode="For training",
        input_image_transformation=transformation.outputs.output_image_transformation,
        input_image_directory=split.outputs.output_image_directory1,
    )
    validation_images = apply_image_transformation(
        mode="For inference",
        input_image_transformation=transformation.outputs.output_image_transformation,
        input_image_directory=split.outputs.output_image_directory2,
    )
    network = component("resnet")(model_name=model_name, pretrained=False)
    train = component("train_pytorch_model")(
        untrained_model=network.outputs.untrained_model,
        training_dataset=training_images.outputs.output_image_directory,
        validation_dataset=validation_images.outputs.output_image_directory,
        epochs=epochs,
        batch_size=batch_size,
        warmup_step_number=1,
        learning_rate=learning_rate,
        random_seed=random_seed,
    )
    train.distribution = PyTorchDistribution(process_count_per_instance=2)  # a new object: the old one is the component's own
    train.environment_variables = dict(MANY_SMALL_FILES)
    score = component("score_image_model")(
        trained_model=train.outputs.trained_model, dataset=hold_out.outputs.output_image_directory2
    )
    evaluate = component("evaluate_model")(
        scored_dataset=score.outputs.scored_dataset,
        dataset=hold_out.outputs.output_image_directory2,
        trained_model=train.outputs.trained_model,
    )
    return {"trained_model": train.outputs.trained_model, "evaluation_results": evaluate.outputs.evaluation_results}


def pipeline_job(images: str) -> PipelineJob:
    """The job for a folder of images."""
    job: PipelineJob = train_and_score(images=Input(type="uri_folder", path=images))
    job.experiment_name = "train_and_score"
    return job


if __name__ == "__main__":
    from azure.identity import DefaultAzureCredential

    subscription, resource_group, workspace, images = sys.argv[1:]
    client = MLClient(DefaultAzureCredential(), subscription, resource_group, workspace)
    print(client.jobs.create_or_update(pipeline_job(images)).studio_url)
