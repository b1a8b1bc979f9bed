"""Airbundle beside the tools that people use for the same job, in one run: ratios hold where seconds do not.

`python -m benchmarks` (make bench) makes the data, runs airbundle and every peer that is installed in turn, and writes
the table, the numbers and a picture into `benchmarks/results/`.

datasets    what is carried
recipes     what is typed for each tool
cases       which two are compared, and the bound of their ratio
throttle    a medium of 100 or 400 MB/s
measuring   one command: wall time, processor time, memory
rounds      all recipes of a group in turns, repeated
codecs      the codec alone, beside zipnn
growth      what a byte, a file and a segment cost as there are more of them; 10 TB by arithmetic
summaries   samples to medians and ratios
tables      summaries to text
picture     summaries to SVG
facts       the machine
"""
