from .cut_files import cut_out as cut_out
