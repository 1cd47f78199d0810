"""The other graphs, composed in the SDK: each is the same as the YAML of its name.

    from graphs import imagenet_resnet50
    job = imagenet_resnet50(training_images=Input(type="uri_folder", path=...), validation_images=..., nodes=2)
    MLClient.from_config(DefaultAzureCredential()).jobs.create_or_update(job)

What a node runs on is set by giving it new objects (`train.resources = ...`): those it has are the component's, and a change in
them would show in every other node of that component.
"""

from typing import Any

from azure.ai.ml import PyTorchDistribution, dsl
from azure.ai.ml.entities import JobResourceConfiguration, QueueSettings
from azure.ai.ml.sweep import Choice, LogUniform
from train_and_score import MANY_SMALL_FILES, component


def prepared(mode: str, transformation: Any, images: Any) -> Any:
    """The ImageDirectory of Apply Image Transformation."""
    return component("apply_image_transformation")(
        mode=mode,
        input_image_transformation=transformation.outputs.output_image_transformation,
        input_image_directory=images,
    )


@dsl.pipeline(name="photos", display_name="Photos", default_compute="serverless")
def photos(
    images,
    model_name: str = "resnet18",
    pretrained: bool = True,
    resize: int = 256,
    image_size: int = 224,
    epochs: int = 10,
    batch_size: int = 16,
    learning_rate: float = 0.004,
    random_seed: int = 1,
    processes: int = 1,
) -> dict[str, Any]:
    """Fine-tune a network on your own photos, score held-out ones, and evaluate.

    To train a model of yours further: `job.jobs["network"].inputs.trained_model = Input(type="mlflow_model", path=...)`.
    """
    network = component("image_network")(model_name=model_name, pretrained=pretrained)
    convert = component("convert_to_image_directory")(input_dataset=images)
    hold_out = component("split_image_directory")(input_image_directory=convert.outputs.output_image_directory, fraction=0.9)
    split = component("split_image_directory")(input_image_directory=hold_out.outputs.output_image_directory1, fraction=0.9)
    augmentation = component("init_image_transformation")(
        size=resize, random_resized_crop=True, random_resized_crop_size=image_size, random_horizontal_flip=True
    )
    centre = component("init_image_transformation")(size=resize, center_crop=True, crop_size=image_size)
    training_images = prepared("For training", augmentation, split.outputs.output_image_directory1)
    validation_images = prepared("For inference", centre, split.outputs.output_image_directory2)
    train = component("train_pytorch_model")(
        untrained_model=network.outputs.untrained_model,
        training_dataset=training_images.outputs.output_image_directory,
        validation_dataset=validation_images.outputs.output_image_directory,
        epochs=epochs,
        batch_size=batch_size,
        warmup_step_number=1,
        learning_rate=learning_rate,
        random_seed=random_seed,
        patience=epochs,
    )
    train.distribution = PyTorchDistribution(process_count_per_instance=processes)
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


@dsl.pipeline(name="unequal_classes", display_name="Unequal classes", default_compute="serverless")
def unequal_classes(
    images,
    image_size: int = 64,
    model_name: str = "resnet18",
    epochs: int = 5,
    batch_size: int = 16,
    learning_rate: float = 0.02,
    random_seed: int = 1,
    processes: int = 1,
    weighting: str = "square_root",
    threshold: float = 0.5,
) -> dict[str, Any]:
    """Train on classes of unequal size and on whole photos, and call unknown what the network is not sure of."""
    convert = component("convert_to_image_directory")(input_dataset=images)
    hold_out = component("split_image_directory")(input_image_directory=convert.outputs.output_image_directory, fraction=0.9)
    balance = component("balance_classes")(input_image_directory=hold_out.outputs.output_image_directory1, weighting=weighting)
    split = component("split_image_directory")(input_image_directory=balance.outputs.output_image_directory, fraction=0.9)
    transformation = component("init_image_transformation")(size=image_size, shape="padded", random_horizontal_flip=True)
    training_images = prepared("For training", transformation, split.outputs.output_image_directory1)
    validation_images = prepared("For inference", transformation, split.outputs.output_image_directory2)
    network = component("image_network")(model_name=model_name, pretrained=False)
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
    train.distribution = PyTorchDistribution(process_count_per_instance=processes)
    train.environment_variables = dict(MANY_SMALL_FILES)
    score = component("score_image_model")(
        trained_model=train.outputs.trained_model, dataset=hold_out.outputs.output_image_directory2, threshold=threshold
    )
    evaluate = component("evaluate_model")(
        scored_dataset=score.outputs.scored_dataset,
        dataset=hold_out.outputs.output_image_directory2,
        trained_model=train.outputs.trained_model,
    )
    return {"trained_model": train.outputs.trained_model, "evaluation_results": evaluate.outputs.evaluation_results}


@dsl.pipeline(name="imagenet_resnet50", display_name="ImageNet ResNet-50", default_compute="serverless")
def imagenet_resnet50(
    training_images,
    validation_images,
    nodes: int = 1,
    processes: int = 8,
    instance_type: str = "Standard_ND96asr_v4",
    epochs: int = 90,
    batch_size: int = 128,
    warmup_step_number: int = 5,
    learning_rate: float = 0.05,
    random_seed: int = 1,
) -> dict[str, Any]:
    """Train ResNet-50 from scratch on folders of images, one sub-folder a class, on 8 or 16 GPUs."""
    convert_training = component("convert_to_image_directory")(input_dataset=training_images)
    convert_validation = component("convert_to_image_directory")(input_dataset=validation_images)
    augmentation = component("init_image_transformation")(
        resize=False, random_resized_crop=True, random_resized_crop_size=224, random_horizontal_flip=True
    )
    centre = component("init_image_transformation")(size=256, center_crop=True, crop_size=224)
    training_set = prepared("For training", augmentation, convert_training.outputs.output_image_directory)
    validation_set = prepared("For inference", centre, convert_validation.outputs.output_image_directory)
    network = component("resnet")(model_name="resnet50", pretrained=False)
    train = component("train_pytorch_model")(
        untrained_model=network.outputs.untrained_model,
        training_dataset=training_set.outputs.output_image_directory,
        validation_dataset=validation_set.outputs.output_image_directory,
        epochs=epochs,
        batch_size=batch_size,
        warmup_step_number=warmup_step_number,
        learning_rate=learning_rate,
        random_seed=random_seed,
        patience=epochs,
        print_frequency=50,
    )
    train.distribution = PyTorchDistribution(process_count_per_instance=processes)
    train.resources = JobResourceConfiguration(instance_type=instance_type, instance_count=nodes, shm_size="64g")
    train.queue_settings = QueueSettings(job_tier="spot")
    train.environment_variables = dict(MANY_SMALL_FILES)
    return {"trained_model": train.outputs.trained_model}


@dsl.pipeline(name="fine_tune", display_name="Fine-tune", default_compute="serverless")
def fine_tune(
    images,
    model_name: str = "densenet121",
    pretrained: bool = True,
    epochs: int = 10,
    batch_size: int = 16,
    learning_rate: float = 0.001,
    random_seed: int = 1,
) -> dict[str, Any]:
    """Fine-tune a DenseNet with weights from ImageNet on a folder of photos."""
    convert = component("convert_to_image_directory")(input_dataset=images)
    split = component("split_image_directory")(input_image_directory=convert.outputs.output_image_directory, fraction=0.9)
    transformation = component("init_image_transformation")(
        size=256, center_crop=True, crop_size=224, random_horizontal_flip=True
    )
    training_images = prepared("For training", transformation, split.outputs.output_image_directory1)
    validation_images = prepared("For inference", transformation, split.outputs.output_image_directory2)
    network = component("densenet")(model_name=model_name, pretrained=pretrained)
    train = component("train_pytorch_model")(
        untrained_model=network.outputs.untrained_model,
        training_dataset=training_images.outputs.output_image_directory,
        validation_dataset=validation_images.outputs.output_image_directory,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        random_seed=random_seed,
    )
    train.environment_variables = dict(MANY_SMALL_FILES)
    return {"trained_model": train.outputs.trained_model}


@dsl.pipeline(name="clean", display_name="Clean", default_compute="serverless")
def clean(images, action: str = "report_only") -> dict[str, Any]:
    """Find duplicates and useless pictures among your own photos."""
    convert = component("convert_to_image_directory")(input_dataset=images)
    clean = component("clean_image_directory")(input_image_directory=convert.outputs.output_image_directory, action=action)
    return {"cleaned_images": clean.outputs.output_image_directory, "cleaning_report": clean.outputs.cleaning_report}


@dsl.pipeline(name="wrong_labels", display_name="Wrong labels", default_compute="serverless")
def wrong_labels(
    images, model_name: str = "resnet18", pretrained: bool = True, epochs: int = 10, learning_rate: float = 0.004
) -> dict[str, Any]:
    """Find labels that are likely wrong, by networks that have not seen the photos."""
    network = component("image_network")(model_name=model_name, pretrained=pretrained)
    convert = component("convert_to_image_directory")(input_dataset=images)
    clean = component("clean_image_directory")(input_image_directory=convert.outputs.output_image_directory, action="leave_out")
    halves = component("split_image_directory")(input_image_directory=clean.outputs.output_image_directory, fraction=0.5)
    half_1, half_2 = halves.outputs.output_image_directory1, halves.outputs.output_image_directory2

    def trained(training: Any, validation: Any) -> Any:
        train = component("train_pytorch_model")(
            untrained_model=network.outputs.untrained_model,
            training_dataset=training,
            validation_dataset=validation,
            epochs=epochs,
            learning_rate=learning_rate,
            patience=epochs,
        )
        train.environment_variables = dict(MANY_SMALL_FILES)
        return train

    train_1, train_2 = trained(half_1, half_2), trained(half_2, half_1)
    score_1 = component("score_image_model")(trained_model=train_2.outputs.trained_model, dataset=half_1)
    score_2 = component("score_image_model")(trained_model=train_1.outputs.trained_model, dataset=half_2)
    labels_1 = component("clean_image_directory")(input_image_directory=half_1, scored_dataset=score_1.outputs.scored_dataset)
    labels_2 = component("clean_image_directory")(input_image_directory=half_2, scored_dataset=score_2.outputs.scored_dataset)
    return {"labels_1": labels_1.outputs.cleaning_report, "labels_2": labels_2.outputs.cleaning_report}


@dsl.pipeline(name="score_only", display_name="Score only", default_compute="serverless")
def score_only(trained_model, images) -> dict[str, Any]:
    """Score new photos with a registered model."""
    score = component("score_image_model")(trained_model=trained_model, dataset=images)
    return {"scored_dataset": score.outputs.scored_dataset}


@dsl.pipeline(name="export_onnx", display_name="Export ONNX", default_compute="serverless")
def export_onnx(trained_model) -> dict[str, Any]:
    """Make one ONNX file of a trained model."""
    export = component("export_onnx")(trained_model=trained_model)
    return {"onnx_model": export.outputs.onnx_model}


@dsl.pipeline(name="sweep", display_name="Sweep", default_compute="serverless")
def sweep(
    images,
    model_name: str = "resnet18",
    pretrained: bool = True,
    resize: int = 256,
    image_size: int = 224,
    epochs: int = 5,
    trials: int = 12,
) -> dict[str, Any]:
    """Search learning rate and batch size for the highest top-1 validation accuracy, score held-out photos, and evaluate."""
    network = component("image_network")(model_name=model_name, pretrained=pretrained)
    convert = component("convert_to_image_directory")(input_dataset=images)
    hold_out = component("split_image_directory")(input_image_directory=convert.outputs.output_image_directory, fraction=0.9)
    split = component("split_image_directory")(input_image_directory=hold_out.outputs.output_image_directory1, fraction=0.9)
    augmentation = component("init_image_transformation")(
        size=resize, random_resized_crop=True, random_resized_crop_size=image_size, random_horizontal_flip=True
    )
    centre = component("init_image_transformation")(size=resize, center_crop=True, crop_size=image_size)
    training_images = prepared("For training", augmentation, split.outputs.output_image_directory1)
    validation_images = prepared("For inference", centre, split.outputs.output_image_directory2)
    trial = component("train_pytorch_model")(
        untrained_model=network.outputs.untrained_model,
        training_dataset=training_images.outputs.output_image_directory,
        validation_dataset=validation_images.outputs.output_image_directory,
        epochs=epochs,
        warmup_step_number=1,
        patience=epochs,
        learning_rate=LogUniform(min_value=-7.6, max_value=-3.0),
        batch_size=Choice([16, 32, 64]),
    )
    train = trial.sweep(sampling_algorithm="random", primary_metric="Top-1 validation accuracy", goal="maximize")
    train.set_limits(max_total_trials=trials, max_concurrent_trials=3)
    train.early_termination = {"type": "median_stopping", "evaluation_interval": 1, "delay_evaluation": 2}
    score = component("score_image_model")(
        trained_model=train.outputs.trained_model, dataset=hold_out.outputs.output_image_directory2
    )
    evaluate = component("evaluate_model")(
        scored_dataset=score.outputs.scored_dataset, dataset=hold_out.outputs.output_image_directory2
    )
    return {"best_model": train.outputs.trained_model, "evaluation_results": evaluate.outputs.evaluation_results}


@dsl.pipeline(
    name="image_classification_with_densenet", display_name="Image classification with DenseNet", default_compute="serverless"
)
def image_classification_with_densenet(
    training_zip, validation_zip, model_name: str = "densenet201", epochs: int = 5, batch_size: int = 16
) -> dict[str, Any]:
    """Train a DenseNet on two zip files of photos, one folder a class."""
    convert_training = component("convert_to_image_directory")(input_dataset=training_zip)
    convert_validation = component("convert_to_image_directory")(input_dataset=validation_zip)
    init_transformation = component("init_image_transformation")(
        resize=False, random_resized_crop=True, random_horizontal_flip=True
    )
    apply_to_training = prepared("For training", init_transformation, convert_training.outputs.output_image_directory)
    apply_to_validation = prepared("For inference", init_transformation, convert_validation.outputs.output_image_directory)
    densenet = component("densenet")(model_name=model_name, pretrained=False)
    train = component("train_pytorch_model")(
        untrained_model=densenet.outputs.untrained_model,
        training_dataset=apply_to_training.outputs.output_image_directory,
        validation_dataset=apply_to_validation.outputs.output_image_directory,
        epochs=epochs,
        batch_size=batch_size,
        patience=2,
    )
    train.environment_variables = dict(MANY_SMALL_FILES)
    return {"trained_model": train.outputs.trained_model}
