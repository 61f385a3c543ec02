"""Run an experiment: `python run.py method=imp model=resnet20 dataset=cifar10`; see README.md."""

from lth.cli.run import main

if __name__ == "__main__":
    main()
