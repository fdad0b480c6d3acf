"""The tables of S2HAND's paper as its text has them, a row a line, figures in the paper's units and order."""

HO3D = ("pa_auc_j", "pa_mpjpe_mm", "pa_auc_v", "pa_mpvpe_mm", "pa_f_score_5mm", "pa_f_score_15mm")
FREIHAND = ("pa_mpjpe_mm", "pa_mpvpe_mm", "pa_auc_j", "pa_auc_v", "pa_f_score_5mm", "pa_f_score_15mm")
AREAS = ("pa_auc_j", "pa_auc_v", "pa_f_score_5mm", "pa_f_score_15mm")
SMOOTH = ("acc_mm_per_frame2", "quaternion_rad")


def _of(name: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}.{key}" for key in keys)


# Columns and rows by the table's number; "-" where the text has no figure.
PRINTED = {
    3: (
        _of("freihand", FREIHAND),
        """loc 1.97 2.31 0.611 0.545 0.257 0.763
        loc-regu 1.54 1.58 0.696 0.687 0.387 0.852
        loc-regu-ori 1.24 1.26 0.754 0.750 0.457 0.903
        loc-regu-ori-photo 1.22 1.24 0.759 0.754 0.468 0.909
        loc-regu-ori-2d 1.19 1.20 0.764 0.763 0.479 0.915
        s2hand 1.18 - 0.766 0.765 0.483 0.917""",
    ),
    4: (
        _of("ho3d", HO3D),
        """s2hand 0.773 1.14 0.777 1.12 0.45 0.93
        video-temporal 0.771 1.15 0.773 1.14 0.44 0.93
        video-smooth 0.774 1.13 0.776 1.12 0.45 0.93
        video-quaternion 0.779 1.10 0.781 1.09 0.46 0.94
        video 0.780 1.10 0.781 1.09 0.46 0.94""",
    ),
    5: (
        (*_of("ho3d-train", ("acc_err_mm_per_frame2", *SMOOTH)), *_of("ho3d", SMOOTH)),
        """s2hand 2.85 2.29 0.014 3.68 0.020
        video-temporal 2.57 1.96 0.011 2.87 0.015
        video-smooth 2.89 2.29 0.014 2.89 0.015
        video-quaternion 2.23 1.59 0.008 2.81 0.014""",
    ),
    6: (
        (*_of("freihand", AREAS), *_of("ho3d", AREAS)),
        """weak 0.730 0.725 0.42 0.89 0.765 0.769 0.44 0.93
        s2hand 0.766 0.765 0.48 0.92 0.773 0.777 0.45 0.93""",
    ),
    7: (
        _of("ho3d", HO3D[:4]),
        """video-interval1 0.778 1.11 0.780 1.10
        video 0.780 1.10 0.782 1.09
        video-interval6 0.775 1.13 0.776 1.12
        video-frames6 0.774 1.13 0.777 1.12""",
    ),
    8: (
        _of("ho3d", HO3D),
        """s2hand 0.773 1.14 0.777 1.12 0.45 0.93
        s2hand-orthographic 0.770 1.15 0.774 1.13 0.45 0.93
        video-quaternion-orthographic 0.778 1.11 0.780 1.10 0.45 0.94
        video-quaternion-orthographic-more 0.782 1.09 0.783 1.09 0.46 0.94""",
    ),
    9: (
        _of("ho3d", ("texture_sd", "shape_sd")),
        """s2hand 0.033 0.013
        video-quaternion 0.042 0.016
        video 0.016 0.012""",
    ),
}

# Table 13: repetitions 1 to 3; MPJPE in cm of S2HAND and S2HAND(V) on the test and the validation set, then AUC alike.
REPETITIONS = """1.143664 1.100517 1.236116 1.152090 0.771680 0.780270 0.754652 0.770293
1.145062 1.102492 1.237049 1.150140 0.771222 0.780027 0.754343 0.770780
1.141907 1.097885 1.237436 1.153761 0.772158 0.780930 0.754180 0.769846"""
