"""Thin bridge from pip to CMakeLists.txt: one message build for pip, editable pip and colcon."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
NAME = MANIFEST.findtext('name', '')
INTERFACES = ('msg', 'action')


def ros_prefix() -> Path:
    """Return the prefix of the ROS packages: that of pip's build environment, or /opt/ros/..."""
    spec = importlib.util.find_spec('ament_index_python')
    if spec is None or spec.origin is None:
        raise SystemExit('grasp_ros: no ament_index_python: build with pip, or source ROS first')
    # <prefix>/lib/pythonX.Y/site-packages/ament_index_python/__init__.py; Debian has local/lib/...
    return next(p for p in Path(spec.origin).parents if (p / 'share' / 'ament_index').is_dir())


class BuildPackage(build_ext):
    """Runs CMakeLists.txt into a staging folder and packages what it installed there."""

    def run(self) -> None:
        """Build the messages; in editable mode, into the sources."""
        stage = self._cmake_install()
        generated = next(stage.rglob('*-packages/grasp_ros/msg/__init__.py')).parents[1]
        target = ROOT / NAME if self.editable_mode else Path(self.build_lib, NAME)
        for kind in INTERFACES:
            shutil.rmtree(target / kind, ignore_errors=True)
            shutil.copytree(
                generated / kind, target / kind, ignore=shutil.ignore_patterns('__pycache__')
            )
        for library in generated.glob('*.so'):
            shutil.copy2(library, target)

        site_packages = generated.parent
        files = [
            path.relative_to(stage)
            for path in sorted(stage.rglob('*'))
            if path.is_file()
            and site_packages not in path.parents
            and path.parent.name != '__pycache__'
        ]
        self.distribution.data_files.extend(
            (str(file.parent), [os.path.relpath(stage / file)]) for file in files
        )
        if self.editable_mode:
            # setuptools leaves data files out of an editable wheel.
            self.run_command('install_data')

    def _cmake_install(self) -> Path:
        prefix = str(ros_prefix())
        environment = dict(os.environ)
        for variable in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH'):
            environment[variable] = os.pathsep.join(
                filter(None, (prefix, environment.get(variable)))
            )
        build = Path(self.build_temp, 'cmake').resolve()
        stage = Path(self.build_temp, 'stage').resolve()
        # Afresh each time: a CMake cache would name a build environment that pip has deleted.
        for folder in (build, stage):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for command in (
            [
                '-S', str(ROOT), '-B', str(build), f'-DCMAKE_INSTALL_PREFIX={stage}',
                f'-DPython3_EXECUTABLE={sys.executable}', '-DCMAKE_BUILD_TYPE=Release',
                '-DBUILD_TESTING=OFF', '-Wno-dev',
            ],
            ['--build', str(build)],
            ['--install', str(build)],
        ):
            subprocess.run(['cmake', *command], env=environment, check=True)
        return stage

    def get_outputs(self) -> list[str]:
        """Return nothing: the message files reach the wheel through the build folder."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Return nothing: in editable mode the message files lie beside the sources already."""
        return {}

    def get_source_files(self) -> list[str]:
        """Return nothing: MANIFEST.in names what CMake reads."""
        return []


maintainer = MANIFEST.find('maintainer')
setup(
    name=NAME,
    version=MANIFEST.findtext('version'),
    description=MANIFEST.findtext('description'),
    license=MANIFEST.findtext('license'),
    license_files=['LICENSE', 'NOTICE'],
    maintainer=maintainer.text,
    maintainer_email=maintainer.get('email'),
    python_requires='>=3.10',
    packages=find_packages(
        include=['grasp_ros', 'grasp_ros.*'], exclude=['grasp_ros.msg*', 'grasp_ros.action*']
    ),
    package_data={NAME: ['**/*.json', '**/*.safetensors', 'py.typed']},
    ext_modules=[Extension('grasp_ros.msg', sources=[])],
    cmdclass={'build_ext': BuildPackage},
    data_files=[],
    # ROS itself is not listed: on a ROS machine rclpy comes from there. Without one, the extra
    # `ros` brings it, at the versions that the messages are built against.
    install_requires=[
        'numpy>=1.26',
        'opencv-python-headless>=4.8',
        'pillow>=10',
        'pydantic>=2',
        'PyYAML>=6',
        'rosbags>=0.11',
        'safetensors>=0.4',
        'scipy>=1.11',
        'torch>=2.10',  # CVE-2026-24747
        'tqdm>=4.60',
    ],
    extras_require={
        'benchmark': ['matplotlib>=3.8'],
        'docs': ['mkdocs-material>=9.6', 'mkdocstrings-python>=2'],
        'push-t': ['pymunk>=7'],
        'ray': ['ray>=2.60'],
        'ros': [
            'ros-kilted-diagnostic-msgs==5.5.1',
            'ros-kilted-geometry-msgs==5.5.1',
            'ros-kilted-nav-msgs==5.5.1',
            'ros-kilted-rclpy==9.1.2',
            'ros-kilted-rmw-fastrtps-cpp==9.3.3',
            'ros-kilted-sensor-msgs==5.5.1',
            'ros-kilted-std-msgs==5.5.1',
            'ros-kilted-std-srvs==5.5.1',
            'ros-kilted-trajectory-msgs==5.5.1',
        ],
        'stable-worldmodel': ['stable-worldmodel>=0.1.1'],
        'tensorboard': ['tensorboard>=2.15'],
        'test': ['hypothesis>=6', 'pytest>=7,<9', 'pytest-timeout>=2'],
    },
    zip_safe=False,
)
