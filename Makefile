# make demo    from handwritten digits to a trained, scored and evaluated network, on this machine
# make page    the designer's page, anew from page/ into the package; needs npm
# make bundle  each component as a folder for the studio's New component, in BUNDLE; needs Python alone
# make test    everything that must hold before a commit lands
# make bench   how fast it is, beside other programs, on this machine
# make bench-mount   what data at a distance costs: each component beside a local disk, and torch's DataLoader
# make test-gpu    what only a GPU can show; make bench-gpu   images/s on it, beside timm, and what its steps wait for (25 minutes)
# make bench-accuracy   how good the networks are, beside other programs (an hour; bench-accuracy-short: 15 minutes); bench-choices: each choice
# make bench-designer   how soon the designer answers, in Chromium: from the command to the graph, an edit to what is wrong with it, 50,000 thumbnails
# make test-faults   every fault that a training must survive, in about an hour
# make test-release   what runs in each image, with that image's packages, and endpoints as Azure runs them (Python 3.12; 20 minutes)
# make register   both environments and all components in your workspace, or in a registry: REGISTRY=name
# make fuzz   100,000 almost right inputs for every reader, in about half an hour
# All set themselves up in VENV; VENV=path shares one environment (5.5 GB with torch) between checkouts.

VENV ?= .venv
PYTHON ?= python3
OUTPUT ?= runs/demo
BUNDLE ?= runs/bundle
BENCH ?= runs/bench
ROUNDS ?= 5
RELEASE ?= runs/release
PHOTOS ?= pipelines/digits
PYTHON312 ?= python3.12
CORE := tests/data tests/entry tests/formats tests/fuzz tests/inference tests/networks tests/report tests/runtime tests/training tests/test_adversary.py \
  tests/test_bad_parameters.py
TRAINING := tests/training tests/entry tests/data/test_loader.py tests/networks tests/runtime/test_tracking_on_azure.py
TODAY := $(shell date +%F)
BIN := $(abspath $(VENV))/bin
STAMP := $(abspath $(VENV))/.set_up$(subst /,_,$(CURDIR))
export PYTHONPATH := $(CURDIR)/src

.PHONY: demo digits pictures page bundle test test-faults fuzz test-release golden notebook lock register check setup clean bench bench-full bench-photos bench-mount bench-gpu bench-watch bench-designer bench-accuracy bench-accuracy-short bench-choices test-gpu gpu-is-there

demo: setup
	@$(MAKE) --no-print-directory digits
	@$(BIN)/designer-vision run pipelines/train_and_score.yaml --output_dir $(OUTPUT)

# by this environment where there is one, else by a small one without torch
digits:
	@test -d pipelines/digits || { test -f $(STAMP) && $(BIN)/python pipelines/digits.py pipelines/digits; } || { \
	  $(PYTHON) -m venv .venv_digits && PYTHONPATH= .venv_digits/bin/pip install --quiet --disable-pip-version-check scikit-learn pillow && \
	  .venv_digits/bin/python pipelines/digits.py pipelines/digits; }

# what README and docs show of a run and of its reports; needs Chromium
pictures: setup digits
	@rm -rf $(OUTPUT)_pictures
	$(BIN)/python docs/pictures.py pipelines/train_and_score.yaml $(OUTPUT)_pictures

# what the designer serves; commit what it builds
page:
	npm --prefix page ci
	npm --prefix page run check
	npm --prefix page run build

# no setup: someone who works in the studio needs no torch
bundle:
	@$(PYTHON) pipelines/bundle.py $(BUNDLE)

# two tests at a time, each with one thread: OpenMP's wait by spinning, and would take each other's cores
test: setup check
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest -rs -n 2 --dist loadfile --no-loadscope-reorder

# ROUNDS times each; what came of it is kept in benchmarks/
test-faults: setup
	$(BIN)/python benchmarks/faults.py $(ROUNDS) > benchmarks/$(TODAY)_faults.md

# every test marked gpu; those that want two GPUs are skipped on one
test-gpu: gpu-is-there setup
	@$(BIN)/python -c '$(TORCH_SEES_IT)' > benchmarks/$(TODAY)_test_gpu.txt || { rm benchmarks/$(TODAY)_test_gpu.txt; exit 1; }
	-@nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >> benchmarks/$(TODAY)_test_gpu.txt
	@$(BIN)/pytest -m gpu -rs -v >> benchmarks/$(TODAY)_test_gpu.txt; status=$$?; cat benchmarks/$(TODAY)_test_gpu.txt; exit $$status

TORCH_SEES_IT = import sys, torch; torch.cuda.is_available() or sys.exit("PyTorch cannot use the GPU of this machine"); \
  print("torch", torch.__version__, "CUDA", torch.version.cuda, *(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())), sep=", ")

# before anything is set up
gpu-is-there:
	@nvidia-smi --list-gpus > /dev/null 2>&1 || test -e /dev/nvidia0 || { echo "$(MAKECMDGOALS) needs an NVIDIA GPU, and this machine has none"; exit 1; }

# 100,000 almost right inputs for every reader, in about half an hour
fuzz: setup
	$(BIN)/python tests/fuzz/run.py runs/finds > benchmarks/$(TODAY)_fuzz.md

# what the clients send, written anew; look at the difference before committing it
golden: setup
	UPDATE_GOLDEN=1 $(BIN)/pytest tests/client

# the notebook run against the imitated service, with the outputs that it has now
notebook: setup
	UPDATE_NOTEBOOK=1 $(BIN)/pytest tests/client/test_notebook.py

# What runs in each image, with that image's packages, and the model behind Azure ML's inference server: with Azure's own script in a
# fresh environment of the model's requirements, and with ours in the endpoint's image. Where PyTorch's own index cannot be reached, the
# images without CUDA are tested with its build for CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.14.1 torchvision==0.29.1
INSTALL := bin/pip install --quiet --disable-pip-version-check
test-release: setup
	@for name in cuda cpu serving; do $(PYTHON312) -m venv $(RELEASE)/$$name || exit 1; done
	@$(RELEASE)/cuda/$(INSTALL) --require-hashes --requirement environment/requirements.txt
	@for name in cpu serving; do $(RELEASE)/$$name/$(INSTALL) --require-hashes --requirement environment/requirements_$$name.txt && \
	  echo "$$name without torch: $$(du -sm $(RELEASE)/$$name | cut -f1) MB" && \
	  { $(RELEASE)/$$name/$(INSTALL) --no-deps --index-url $(TORCH_INDEX) $(TORCH) || $(RELEASE)/$$name/$(INSTALL) $(TORCH); } && \
	  $(RELEASE)/$$name/bin/pip check || exit 1; done
	@du -sm $(RELEASE)/cuda $(RELEASE)/cpu $(RELEASE)/serving
	@for name in cuda cpu; do $(RELEASE)/$$name/$(INSTALL) pytest hypothesis packaging || exit 1; done
	$(RELEASE)/cuda/bin/python -m pytest -m 'not slow and not gpu' $(TRAINING)
	$(RELEASE)/cpu/bin/python -m pytest -m 'not slow and not gpu' $(CORE)
	SERVED_FROM=$(abspath $(RELEASE))/model SERVED_FROM_IMAGE=$(abspath $(RELEASE))/serving $(BIN)/pytest -m 'not slow and not gpu' tests/inference/test_served.py

# the images' packages with their hashes; those without CUDA leave out torch and all that only a CUDA build of it needs
COMPILE := uv pip compile --generate-hashes --python-version 3.12 --python-platform x86_64-manylinux_2_39 --no-header --quiet
NO_CUDA = $$(grep -oE '^(torch|torchvision|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==' requirements.txt | sed 's/^/--no-emit-package /; s/==//')
lock: setup
	cd environment && $(BIN)/$(COMPILE) requirements.in --output-file requirements.txt
	cd environment && $(BIN)/$(COMPILE) requirements.in --constraint requirements.txt $(NO_CUDA) --output-file requirements_cpu.txt
	cd environment && $(BIN)/$(COMPILE) requirements_serving.in $(NO_CUDA) --output-file requirements_serving.txt
	sed -i '1i # Made by `make lock`: Linux on x86-64, Python 3.12. Do not edit.' environment/requirements*.txt

# by name and version: what a registry takes, and what the designer shows; a version that is there already cannot be changed
REGISTRY_FLAGS = $(if $(REGISTRY),--registry-name $(REGISTRY))
REGISTERED = $(if $(REGISTRY),azureml://registries/$(REGISTRY)/environments/$$name/versions/$$version,azureml:$$name:$$version)
register:
	@set -e; for file in environment/environment.yaml environment/environment_cpu.yaml; do \
	  echo "$$file"; az ml environment create --file "$$file" $(REGISTRY_FLAGS) --output none; \
	done
	@set -e; for file in component/*.yaml; do \
	  environment=component/$$(sed -n 's/^environment: file://p' "$$file"); \
	  name=$$(sed -n 's/^name: //p' "$$environment"); version=$$(sed -n 's/^version: //p' "$$environment"); \
	  echo "$$file"; az ml component create --file "$$file" --set environment="$(REGISTERED)" $(REGISTRY_FLAGS) --output none; \
	done

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the README says about speed, measured here: bench in about 19 minutes, bench-full in hours (it goes on where it was stopped).
bench: $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/training.py $(BENCH)/3 3 short resnet18:16 resnet18:64 > benchmarks/$(TODAY)_training.md
	$(BENCH)/venv/bin/python benchmarks/components.py $(BENCH)/3 3 > benchmarks/$(TODAY)_components.md
	$(BENCH)/venv/bin/python benchmarks/shares.py $(BENCH)/3
	$(BENCH)/venv/bin/python benchmarks/scaled_decoding.py 7 > benchmarks/$(TODAY)_scaled_decoding.md
	$(BENCH)/venv/bin/python benchmarks/index.py $(BENCH)/index
	$(BENCH)/venv/bin/python benchmarks/reports.py $(BENCH)/reports > benchmarks/$(TODAY)_reports.md
	$(BENCH)/venv/bin/python benchmarks/cleaning.py > benchmarks/$(TODAY)_cleaning.md

bench-full: $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/training.py $(BENCH)/5 5 all resnet18:16 resnet18:64 resnet50:16 resnet50:64 densenet121:16 > benchmarks/$(TODAY)_training_full.md
	$(BENCH)/venv/bin/python benchmarks/components.py $(BENCH)/5 5 > benchmarks/$(TODAY)_components_full.md
	$(BENCH)/venv/bin/python benchmarks/scaling.py $(BENCH)/5 benchmarks/$(TODAY)_scaling.png > benchmarks/$(TODAY)_scaling.md

# how long a person with a folder of photos waits: PHOTOS is any tree of class folders
bench-photos: setup digits
	$(BIN)/python benchmarks/own_photos.py $(PHOTOS) pipelines/digits $(OTHER) > benchmarks/$(TODAY)_own_photos.md

# images on a mount whose every file waits, by FUSE; needs root or fusermount
bench-mount: $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/slow_mount.py $(BENCH)/mount 3 > benchmarks/$(TODAY)_slow_mount.md

# images/s on a GPU, the most telling runs first; the page is there however it ends, and the same command goes on
MINUTES ?= 25
bench-gpu: gpu-is-there $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/gpu.py $(BENCH)/gpu $(MINUTES) benchmarks/$(TODAY)_gpu.md

# how soon ranks end when one is lost, and whether one is taken for lost that is not: an hour and some minutes of full load
bench-watch: setup
	$(BIN)/python benchmarks/watching.py 100 3600 > benchmarks/$(TODAY)_watching.md

# how soon the designer answers, in Chromium; about eight minutes
bench-designer: setup
	$(BIN)/python benchmarks/designer.py $(BENCH)/designer > benchmarks/$(TODAY)_designer.md

# how good the networks are, on images of Debian's packages dataset-fashion-mnist, openclipart-png and tuxpaint-stamps-default; the page is
# there however it ends, and the same command goes on
ACCURACY_MINUTES ?= 60
bench-accuracy: $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/accuracy.py $(BENCH)/accuracy $(ACCURACY_MINUTES) benchmarks/$(TODAY)_accuracy.md

bench-accuracy-short: $(BENCH)/venv
	$(BENCH)/venv/bin/python benchmarks/accuracy.py $(BENCH)/accuracy_short 14 benchmarks/$(TODAY)_accuracy_short.md short

bench-choices: setup
	$(BIN)/python benchmarks/image_sets.py $(BENCH)/accuracy/sets
	$(BIN)/python benchmarks/choices.py $(BENCH)/accuracy/sets $(BENCH)/accuracy/choices.jsonl $(ACCURACY_MINUTES) > benchmarks/$(TODAY)_choices.md
	$(BIN)/python benchmarks/inference_resize.py $(BENCH)/accuracy/sets > benchmarks/$(TODAY)_inference_resize.md

# timm and the sample photos in an environment of their own, which borrows torch and us from the other one
$(BENCH)/venv: $(STAMP)
	@$(PYTHON) -m venv $@.unfinished
	@$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > $$(echo $@.unfinished/lib/python3*/site-packages)/main.pth
	@$@.unfinished/bin/python -m pip install --quiet --disable-pip-version-check timm==1.0.31 scikit-image==0.26.0
	@mv $@.unfinished $@

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || { echo "making the environment $(VENV) (some minutes, 5.5 GB)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[azure,designer,dev]"
	@touch $@

clean:
	rm -rf .venv .venv_digits runs pipelines/digits
