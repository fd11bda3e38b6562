const path = require('path');

module.exports = {
        context: __dirname,
        mode: 'development',
        devtool: false,
        cache: false,
        entry: {
                commons: ['jquery', 'underscore', 'backbone'],
                CourseHome: './lms/static/js/CourseHome.js',
                StudioIndex: './cms/static/js/StudioIndex.js',
                Discussion: './common/static/js/Discussion.js',
        },
        output: {
                path: path.join(__dirname, 'common/static/bundles'),
                filename: '[name].js',
                chunkFilename: '[name].chunk.js',
        },
};
